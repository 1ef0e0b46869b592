"""Ensembles that ask one member at a step, or all only where it matters."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from consort.core.errors import BadParameter, Unsupported
from consort.core.types import Sampling
from consort.ensemble.during.average import Average
from consort.ensemble.during.gated_average import GatedAverage
from consort.ensemble.during.mixture_ensemble import MixtureEnsemble
from consort.models.fake import FakeTokenModel

P1, P2 = [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]
PLAIN = Sampling(temperature=1.0, max_tokens=6)


def flat(probabilities, name):
    """A model that says the same after everything: of tokens 0, 1, 2, and never the rest."""
    logits = [torch.tensor(p).log().item() for p in probabilities]

    def after(tokens):
        return [*logits, *[-1e9] * (size - 3)]

    model = FakeTokenModel(after, name=name)
    size = model.tokenizer.vocab_size
    return model


def random_models(n=2):
    return [FakeTokenModel.random(seed) for seed in range(n)]


def drawn(seeds, weight=(0.7, 0.3)):
    model = MixtureEnsemble([flat(P1, "one"), flat(P2, "two")], weight=list(weight))
    counts = Counter()
    for seed in range(seeds):
        (answer,) = model.generate(["ab"], Sampling(temperature=1.0, max_tokens=1, seed=seed))
        counts[answer.tokens[0]] += 1
    return counts


def chi_square(counts, total):
    return sum((counts[i] - total * p) ** 2 / (total * p) for i, p in enumerate((0.48, 0.36, 0.16)))


def test_tokens_have_the_law_of_the_mixture():
    assert chi_square(drawn(1500), 1500) < 18.4  # 2 degrees of freedom, p = 1e-4


@pytest.mark.slow
def test_tokens_have_the_law_of_the_mixture_closely():
    assert chi_square(drawn(20_000), 20_000) < 18.4


@pytest.mark.parametrize("batch", [1, 8])
def test_one_member_runs_at_a_step_and_all_tokens_are_read(batch):
    models = random_models()
    ensemble = MixtureEnsemble(models)
    calls = []
    for model in models:
        opened = model.open

        def open_counted(batch, opened=opened):
            session = opened(batch)
            fed = session.feed

            def feed(tokens, *, last=False):
                calls.append(sum(map(len, tokens)))
                return fed(tokens, last=last)

            session.feed = feed
            return session

        model.open = open_counted
    sampling = Sampling(temperature=1.0, max_tokens=40, min_tokens=0, seed=3)
    answers = ensemble.generate([f"{'ab' * (i % 3 + 1)}" for i in range(batch)], sampling)
    assert len(calls) <= max(len(a.tokens) for a in answers) * 1.05
    if batch == 1:  # what is saved are calls: a member that is drawn reads all that it has missed
        read = 2 * (len("ab") + len(answers[0].tokens))
        assert read - 12 <= sum(calls) <= read


def test_one_weight_is_that_model_and_scores_are_the_averages():
    models = random_models()
    sampling = Sampling(temperature=1.0, max_tokens=12, seed=5)
    alone = models[0].generate(["ab"], sampling)[0]
    assert MixtureEnsemble(models, weight=[1, 0]).generate(["ab"], sampling)[0].tokens == alone.tokens
    pairs = [("ab", "ba")]
    assert MixtureEnsemble(models).score(pairs) == Average(models).score(pairs)


def test_a_row_does_not_depend_on_its_batch():
    ensemble = MixtureEnsemble(random_models())
    together = ensemble.generate(["ab", "b", "aab"], PLAIN)
    assert [a.tokens for a in together] == [ensemble.generate([p], PLAIN)[0].tokens for p in ("ab", "b", "aab")]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(temperature=0.5),
        Sampling(temperature=1, top_p=0.9),
        Sampling(temperature=1, top_k=3),
        Sampling(temperature=1, min_tokens=2),
    ],
)
def test_another_law_is_refused(sampling):
    with pytest.raises(Unsupported, match="acts on the mixture"):
        MixtureEnsemble(random_models()).generate(["ab"], sampling)


def test_gate_at_its_ends_is_the_first_model_and_the_average():
    models, sampling = random_models(3), Sampling(temperature=0, max_tokens=20)
    for prompts in (["ab"], ["ab", "b", "aab"]):
        first = models[0].generate(prompts, sampling)
        closed = GatedAverage(models, threshold=0).generate(prompts, sampling)
        assert [c.tokens for c in closed] == [f.tokens for f in first]
        whole = Average(models).generate(prompts, sampling)
        opened = GatedAverage(models, threshold=1.5).generate(prompts, sampling)
        assert [(o.tokens, o.logprob) for o in opened] == [(w.tokens, w.logprob) for w in whole]
    assert GatedAverage(models, threshold=1.5).score([("ab", "ba")]) == pytest.approx(
        Average(models).score([("ab", "ba")])
    )
    assert GatedAverage(models, threshold=0).score([("ab", "ba")]) == pytest.approx(models[0].score([("ab", "ba")]))


def test_calls_rise_with_the_margin_and_are_told():
    models, told = random_models(), []
    for threshold in (0, 0.2, 0.5, 1.5):
        (answer,) = GatedAverage(models, threshold=threshold).generate(["ab"], Sampling(temperature=0, max_tokens=30))
        steps, calls = len(answer.tokens), answer.details["calls"]
        assert calls[models[0].name] == steps and calls[models[1].name] == answer.details["open_steps"]
        told.append(calls[models[1].name] / steps)
    assert told == sorted(told) and told[0] == 0 and told[-1] == 1


def test_the_gates_by_hand():
    one, two = (torch.tensor(p).log() for p in (P1, P2))
    models = random_models()
    assert GatedAverage(models, threshold=0.31).is_open(one) and not GatedAverage(models, threshold=0.29).is_open(one)
    assert GatedAverage(models, gate="entropy", threshold=0.897).is_open(one)
    assert not GatedAverage(models, gate="entropy", threshold=0.898).is_open(one)
    assert GatedAverage(models, gate="disagreement", threshold=0.9).is_open(one, two)
    assert not GatedAverage(models, gate="disagreement", threshold=0.9).is_open(one, one)
    with pytest.raises(BadParameter, match="the first model writes"):
        GatedAverage(models, weight=[0, 1])
