"""Two models that propose and verify in turn: the law of their average, at fewer calls."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from consort.core.errors import BadParameter, Unsupported
from consort.core.types import Sampling
from consort.ensemble.during.average import Average
from consort.ensemble.during.speculative_average import SpeculativeAverage
from consort.models.fake import FakeTokenizer, FakeTokenModel
from consort.testing.tables import TableModel, random_table, same_distribution, z_score

P1, P2 = [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]
WEIGHT = [0.7, 0.3]


def flat(probabilities, name):
    """A model that says the same after everything: tokens 0, 1 and 2 of 12."""
    table = torch.full((12, 12), 1e-12)
    table[:, :3] = torch.tensor(probabilities)
    return TableModel(table, FakeTokenizer("abcdefghij"), name=name)


def random_models():
    return [FakeTokenModel.random(seed) for seed in range(2)]


def pair_of_tables():
    """Two models, and the one that their average is; the first table is padded."""
    a, b = random_table(1, 12, width=12, without=[10]), random_table(2, 12, without=[10])
    tokenizer = FakeTokenizer("abcdefghij")
    models = [TableModel(table, tokenizer, name=name) for table, name in ((a, "a"), (b, "b"))]
    return models, TableModel(0.7 * a + 0.3 * b, tokenizer, name="both")


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=1.0, max_tokens=3), Sampling(temperature=0.6, top_p=0.8, max_tokens=3)]
)
def test_answers_have_the_law_of_the_average(ahead, sampling):
    """Cuts act on the mix: on each member's own distribution they would give another law."""
    models, both = pair_of_tables()
    same_distribution(SpeculativeAverage(*models, share=0.7, ahead=ahead), both, sampling, 800)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_greedy_answers_are_the_averages(ahead):
    models = random_models()
    prompts = ["ab", "abca", "b", "ab"]
    sampling = Sampling(max_tokens=12)
    wanted = Average(models, weight=WEIGHT).generate(prompts, sampling)
    found = SpeculativeAverage(*models, share=0.7, ahead=ahead).generate(prompts, sampling)
    assert [a.tokens for a in found] == [a.tokens for a in wanted]
    streamed = list(SpeculativeAverage(*models, share=0.7, ahead=ahead).stream("abca", sampling))
    assert "".join(streamed) == wanted[1].text


def test_shares_accepted_and_what_is_drawn_instead():
    """Acceptance is 1 - w_p TV(p, q): .88 where the first proposes, .72 where the second does."""
    found = {}
    for first in (0, 1):
        models = [flat(P1, "one"), flat(P2, "two")]
        pair = SpeculativeAverage(*(models[::-1] if first else models), share=0.3 if first else 0.7)
        answers = pair.generate(["a"] * 1500, Sampling(temperature=1.0, max_tokens=1))
        found[first] = sum(a.details["accepted"] for a in answers) / 1500
        counts = Counter(a.tokens[0] for a in answers)
        assert z_score(counts, {0: 0.48, 1: 0.36, 2: 0.16}) < 4
        instead = Counter(a.tokens[0] for a in answers if not a.details["accepted"])
        if not first:
            assert set(instead) == {1, 2} and abs(instead[1] - instead[2]) < 4 * len(answers) ** 0.5
    assert found[0] == pytest.approx(0.88, abs=0.035) and found[1] == pytest.approx(0.72, abs=0.045)


def test_acceptance_against_the_proposer_alone_would_be_another_law():
    """Verifying against p instead of the mix, as for a single target, loses the proposer's weight."""
    target = [0.7 * a + 0.3 * b for a, b in zip(P1, P2, strict=True)]
    speculative = [min(q, p) + (1 - sum(map(min, P1, P2))) * max(0, p - q) / 0.4 for q, p in zip(P1, P2, strict=True)]
    assert speculative == pytest.approx(P2) and speculative != pytest.approx(target)


def test_calls_are_counted_and_never_more_than_the_plain_loops():
    same = FakeTokenModel.random(0)
    sampling = Sampling(max_tokens=20)
    agreed = SpeculativeAverage(same, FakeTokenModel.random(0, name="twin")).generate(["ab"], sampling)[0]
    calls = agreed.details["calls"]
    assert sum(calls.values()) <= len(agreed.tokens) + 2 and agreed.details["accepted"] == agreed.details["proposed"]
    for seed in range(6):
        models = [FakeTokenModel.random(seed), FakeTokenModel.random(seed + 50)]
        answer = SpeculativeAverage(*models).generate(["ab"], Sampling(max_tokens=20, temperature=1.0, seed=seed))[0]
        assert sum(answer.details["calls"].values()) <= 2 * len(answer.tokens)
        plain = SpeculativeAverage(*models, ahead=0).generate(["ab"], Sampling(max_tokens=20))[0]
        assert sum(plain.details["calls"].values()) == 2 * len(plain.tokens)


def test_an_answer_does_not_depend_on_its_batch():
    models, sampling = random_models(), Sampling(temperature=1.0, max_tokens=10, seed=4)
    pair = SpeculativeAverage(*models, ahead=2)
    together = pair.generate(["ab", "abca", "b"], sampling)
    alone = [pair.generate([p], sampling)[0] for p in ("ab", "abca", "b")]
    assert [a.tokens for a in together] == [a.tokens for a in alone]
    assert all(a.logprob is None and "logprobs" not in a.details for a in together)
    seeded = pair.generate(["ab", "ab"], Sampling(temperature=1.0, max_tokens=10, seeds=(7, 7)))
    assert seeded[0].tokens == seeded[1].tokens


def test_refused():
    models = random_models()
    with pytest.raises(BadParameter, match="is one model"):
        SpeculativeAverage(*models, share=1.0)
    with pytest.raises(Unsupported, match="change the mix"):
        SpeculativeAverage(*models).generate(["ab"], Sampling(repetition_penalty=1.2))
