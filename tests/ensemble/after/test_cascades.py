"""Cascades: thresholds 0 and infinity, costs that add up, replays that equal what happens live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadData, BadParameter, EnvironmentFailure, Unsupported
from consort.core.types import Completion, Sampling
from consort.ensemble.after.agreement_cascade import AgreementCascade, verdict
from consort.ensemble.after.auto_mix import AutoMix, says_correct
from consort.ensemble.after.frugal_gpt import FrugalGPT
from consort.ensemble.after.mixture_of_thought import MixtureOfThought
from consort.ensemble.answers.acceptance import agree, features, share, top_answer
from consort.ensemble.answers.meta_verifier import belief, below, between, decide, gains, incremental_benefit
from consort.ensemble.answers.scorer import fit_scorers, scores_of
from consort.ensemble.learning.fitting import Learned, load_learned, save_learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.readings.exact import Exact
from consort.models import FakeModel, FakeTokenModel


def says(name: str, text: str) -> FakeModel:
    return FakeModel(lambda prompt: text, name=name)


class Drawer:
    """Answers by seed: a model whose samples differ."""

    def __init__(self, texts: Sequence[str], name: str = "weak") -> None:
        self.texts, self.name, self.asked = texts, name, 0

    def generate(self, prompts, sampling: Sampling = Sampling()) -> list[Completion]:  # type: ignore[no-untyped-def]
        seeds = sampling.seeds or (sampling.seed,) * len(prompts)
        self.asked += len(prompts)
        return [Completion(self.texts[seed // 7919 % len(self.texts)]) for seed in seeds]


class Down:
    name = "down"

    def generate(self, prompts, sampling=None):  # type: ignore[no-untyped-def]
        raise EnvironmentFailure("does not answer in time")


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=5), st.integers(1, 6))
def test_the_verdict_is_sure_as_soon_as_it_can_be(answers: list[str | None], needed: int) -> None:
    """Nobody is asked once the matter is settled, and it is settled once all have been asked."""
    rest = 5 - len(answers)
    found = verdict(answers, needed, 5)
    most = max((answers.count(a) for a in answers if a is not None), default=0)
    assert found == ("accept" if most >= needed else "ask" if most + rest >= needed else "escalate")
    assert rest or found != "ask"


def test_cheap_models_agree_or_the_strong_one_is_asked_and_nobody_in_vain() -> None:
    models = [says("a", "1"), says("b", "2"), says("c", "1"), says("strong", "9")]
    (two,) = AgreementCascade(models, agree=2).generate(["q"])
    assert (two.text, two.details["answered_by"], list(two.cost)) == ("1", "a", ["a", "b", "c"])
    (three,) = AgreementCascade(models).generate(["q"])
    assert (three.text, list(three.cost)) == ("9", ["a", "b", "strong"])
    (none,) = AgreementCascade(models, agree=0).generate(["q"])
    assert (none.text, list(none.cost)) == ("1", ["a"])
    (always,) = AgreementCascade(models, agree=4).generate(["q"])
    assert (always.text, list(always.cost)) == ("9", ["strong"])


def test_a_strong_model_that_fails_leaves_the_plurality() -> None:
    team = AgreementCascade([says("a", "1"), says("b", "2"), says("c", "2"), Down()])
    (answer,) = team.generate(["q"])
    assert (answer.text, answer.details["answered_by"]) == ("1", "a")  # c was not asked: all three cannot agree
    assert answer.details["failed"] == {"down": "does not answer in time"}


@given(st.integers(0, 500), st.integers(0, 4))
def test_replay_is_what_happens_live(seed: int, needed: int) -> None:
    rng = np.random.default_rng(seed)
    answers = [tuple(map(str, rng.integers(0, 2, 4))) for _ in range(5)]
    quality = np.array([[float(a == "1") for a in row] for row in answers])
    prompts = tuple(f"q{i}" for i in range(5))
    models = [FakeModel(dict(zip(prompts, column, strict=True)), name=str(m))
              for m, column in enumerate(zip(*answers, strict=True))]  # fmt: skip
    team = AgreementCascade(models, agree=needed)
    observed = Observed(tuple("0123"), prompts, quality, tuple(answers), np.ones_like(quality))
    replayed, live = team.replay(observed), team.generate(prompts)
    assert [float(c.text == "1") for c in live] == replayed.quality.tolist()
    assert [len(c.cost) for c in live] == replayed.cost.tolist()


def test_spread_of_samples_by_hand() -> None:
    sets = [["x", "x", None], ["x", "y", "y"]]
    assert (top_answer(sets), share(sets), agree(sets)) == ("x", 0.5, False)
    assert features(sets) == pytest.approx([0.5, 0.5 * np.log(2) + np.log(3) / 3, 0, 1 / 3, 1 / 3, 2 / 3, 1 / 3])
    assert (top_answer([[None]]), share([[None]]), agree([[None], [None]])) == (None, 0.0, False)


@pytest.mark.parametrize(("threshold", "escalates"), [(0.0, False), (0.75, False), (0.76, True), (2.0, True)])
def test_mixture_of_thought_by_vote(threshold: float, escalates: bool) -> None:
    weak = Drawer(["1", "1", "1", "2"])
    team = MixtureOfThought(weak, says("strong", "9"), samples=2, threshold=threshold)
    (answer,) = team.generate(["q"])
    assert (answer.text == "9") == escalates
    assert answer.details["share"] == 0.75
    assert weak.asked == 4


def test_mixture_of_thought_by_agreement_of_styles() -> None:
    team = MixtureOfThought(Drawer(["1", "1", "2", "2"]), says("strong", "9"), samples=2, rule="verify")
    assert team.generate(["q"])[0].text == "9"
    same = MixtureOfThought(Drawer(["1", "2", "1", "1"]), says("strong", "9"), samples=2, rule="verify")
    assert same.generate(["q"])[0].text == "1"
    kept = MixtureOfThought(Drawer(["1", "1", "2", "2"]), Down(), samples=2, rule="verify").generate(["q"])[0]
    assert (kept.text, list(kept.details["failed"])) == ("1", ["down"])


def test_a_learned_rule_replays_what_it_does_and_keeps_its_share(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    rows, quality = [], []
    for _ in range(200):
        sure = rng.random() < 0.6
        texts = [("g" if rng.random() < (0.9 if sure else 0.3) else f"x{rng.integers(3)}") for _ in range(6)]
        rows.append((*texts, "g"))
        quality.append([float(t == "g") for t in rows[-1]])
    names = (*(f"w{i}" for i in range(6)), "strong")
    data = Observed(names, tuple(f"q{i}" for i in range(200)), np.array(quality), tuple(rows), np.ones((200, 7)))
    team = MixtureOfThought(Drawer(["g"]), says("strong", "g"), samples=3, rule="learned", escalate=0.3)
    with pytest.raises(BadParameter, match="not fitted"):
        team.generate(["q"])
    fitted = team.fit(data)
    replayed = fitted.replay(data)
    escalated = np.mean([by >= 0 for by in replayed.answered_by])
    assert 0.2 <= escalated <= 0.35
    assert replayed.cost.mean() == pytest.approx(6 + escalated)
    assert replayed.quality.mean() > 0.9
    save_learned(fitted.learned, tmp_path / "state.json")
    again = MixtureOfThought(team.weak, team.strong, samples=3, rule="learned", state=str(tmp_path / "state.json"))
    assert again.replay(data).quality.tolist() == replayed.quality.tolist()
    assert load_learned(tmp_path / "state.json") == fitted.learned
    with pytest.raises(BadData, match="columns"):
        fitted.fit(data.columns([0, 1]))
    state = str(tmp_path / "state.json")
    more = MixtureOfThought(team.weak, team.strong, styles=["{prompt}"] * 3, state=state, rule="learned")
    with pytest.raises(BadData, match="styles"):
        more.generate(["q"])


def test_samples_are_views_that_give_what_the_strategy_draws() -> None:
    weak = FakeTokenModel.random(3)
    team = MixtureOfThought(weak, says("strong", "z"), samples=2, threshold=0.0)
    views = [view.generate(["a", "a", "b"]) for view in team.models[:-1]]
    assert [m.name for m in team.models] == ["random-3.0", "random-3.1", "random-3.2", "random-3.3", "strong"]
    drawn = [[Exact()(answer.text) for answer in row] for row in zip(*views, strict=True)]
    live = [Exact()(c.text) for c in team.generate(["a", "a", "b"])]
    assert live == [top_answer([row]) for row in drawn]
    assert [team.place(number) for number in range(5)] == [0, 0, 0, 0, 1]
    assert len(set(drawn[0])) > 1
    assert drawn[0] != drawn[1]


def test_auto_mix_verifies_and_escalates() -> None:
    def answered(prompt: str) -> str:
        return "s" if "Proposed" not in prompt else "Incorrect" if "hard" in prompt else "Correct"

    small = FakeModel(answered, name="small")
    easy, hard = AutoMix(small, says("large", "l"), checks=2).generate(["easy", "hard"])
    assert (easy.text, easy.details["verified"], set(easy.cost)) == ("s", 1.0, {"small"})
    assert (hard.text, hard.details["verified"], set(hard.cost)) == ("l", 0.0, {"small", "large"})
    assert easy.cost["small"].calls == 3
    assert AutoMix(small, says("large", "l"), threshold=0.0).generate(["hard"])[0].text == "s"
    assert AutoMix(small, says("large", "l"), threshold=2.0).generate(["easy"])[0].text == "l"
    assert AutoMix(small, Down()).generate(["hard"])[0].text == "s"
    assert AutoMix(Down(), says("large", "l")).generate(["q"])[0].text == "l"


@pytest.mark.parametrize(
    ("text", "right"),
    [("Correct.", True), ("Incorrect", False), ("not correct", False), ("maybe", False), ("yes", True)],
)
def test_what_a_verification_says(text: str, right: bool) -> None:
    assert says_correct(text) == right


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_meta_verifiers_equal_brute_force(seed: int, checks: int) -> None:
    rng = np.random.default_rng(seed)
    level = rng.integers(0, checks + 1, 20)
    small, large = rng.integers(0, 2, 20).astype(float), rng.integers(0, 2, 20).astype(float)
    price = np.full(20, 0.1)
    gain = gains(level, small, large, price, checks + 1)

    def worth(asked: list[bool]) -> float:
        return float(np.where(np.array(asked)[level], large - price, small).sum())

    ranges = [[a <= v < b for v in range(checks + 1)] for a in range(checks + 2) for b in range(a, checks + 2)]
    assert worth(between(gain)) == pytest.approx(max(map(worth, ranges)))
    assert worth(below(gain)) == pytest.approx(max(worth(r) for r in ranges if r[0] or not any(r)))
    beliefs = belief(level, small, large, checks + 1)
    assert beliefs.sum(1) == pytest.approx(1)
    assert len(decide(level, small, large, price, checks + 1)) == checks + 1


def test_the_decision_process_leaves_the_hopeless_alone() -> None:
    level = np.repeat([0, 1, 2], 50)
    small = np.repeat([0.0, 0.0, 1.0], 50)
    large = np.repeat([0.0, 1.0, 1.0], 50)
    assert decide(level, small, large, np.full(150, 0.2), 3) == [False, True, False]
    assert between(gains(level, small, large, np.full(150, 0.2), 3)) == [False, True, False]
    assert below(gains(level, small, large, np.full(150, 0.2), 3)) == [True, True, False]


def test_incremental_benefit_by_hand() -> None:
    assert incremental_benefit((0.5, 1), (0.9, 50), (0.7, 11)) == pytest.approx(1.45)
    for share_ in (0.3, 0.8):
        random = (0.5 + 0.4 * share_, 1 + 49 * share_)
        assert incremental_benefit((0.5, 1), (0.9, 50), random) == pytest.approx(0)


def test_auto_mix_learns_from_a_cached_verification() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(300) < 0.6
    verified = np.clip(np.round((right * 0.6 + rng.random(300) * 0.5) * 4) / 4, 0, 1)
    answers = tuple(("a", str(v), "b") for v in verified)
    quality = np.stack([right.astype(float), np.zeros(300), (rng.random(300) < 0.9).astype(float)], axis=1)
    data = Observed(
        ("small", "v", "large"), tuple(map(str, range(300))), quality, answers, np.tile([1.0, 0, 20], (300, 1))
    )
    team = AutoMix(says("small", "a"), says("large", "b"), checks=4, lambda_=0.005)
    for rule in ("threshold", "two_thresholds", "pomdp"):
        fitted = AutoMix(team.small, team.large, checks=4, lambda_=0.005, rule=rule).fit(data)  # type: ignore[arg-type]
        replayed = fitted.replay(data)
        ends = ((quality[:, 0].mean(), 1.0), (quality[:, 2].mean(), 21.0))
        assert incremental_benefit(*ends, (replayed.quality.mean(), replayed.cost.mean())) > 0.3
    other = AutoMix(team.small, team.large, checks=5)
    other.learned = Learned("auto_mix", values={"escalate": [True] * 4})
    with pytest.raises(BadData, match="checks"):
        other.replay(data)


def frugal_data(n: int = 300) -> Observed:
    """The cheap model is right on what it answers with "sure", and the texts say so."""
    rng = np.random.default_rng(0)
    easy = rng.random(n) < 0.6
    answers = tuple(("sure yes" if e else "perhaps no", "firm yes") for e in easy)
    quality = np.stack([easy.astype(float), np.ones(n)], axis=1)
    prompts = tuple(f"question {i % 7} {i}" for i in range(n))
    return Observed(("cheap", "dear"), prompts, quality, answers, np.tile([1.0, 10.0], (n, 1)))


def test_frugal_gpt_keeps_quality_and_saves(tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = frugal_data()
    cheap = FakeModel(lambda p: "sure yes" if "easy" in p else "perhaps no", name="cheap")
    team = FrugalGPT([cheap, says("dear", "firm yes")])
    with pytest.raises(BadParameter, match="not fitted"):
        team.generate(["q"])
    fitted = team.fit(data)
    replayed = fitted.replay(data)
    assert replayed.quality.mean() == 1.0
    assert replayed.cost.mean() < 6
    easy, hard = fitted.generate(["an easy one", "a hard one"])
    assert (easy.text, list(easy.cost)) == ("sure yes", ["cheap"])
    assert (hard.text, list(hard.cost)) == ("firm yes", ["cheap", "dear"])
    assert hard.details["scores"]["cheap"] < 0.5 < easy.details["scores"]["cheap"]
    save_learned(fitted.learned, tmp_path / "state.safetensors")
    again = FrugalGPT(team.models, state=str(tmp_path / "state.safetensors"))
    assert again.replay(data).cost.tolist() == replayed.cost.tolist()


def test_a_budget_is_kept_and_one_too_small_is_named() -> None:
    data = frugal_data()
    models = [says("cheap", "sure yes"), says("dear", "firm yes")]
    fitted = FrugalGPT(models, budget=3.0).fit(data)
    assert fitted.learned.values["cost"] <= 3.0
    with pytest.raises(BadParameter, match="budget"):
        FrugalGPT(models, budget=0.5).fit(data)
    with pytest.raises(BadParameter, match="at most 12|13 models"):
        FrugalGPT([says(str(i), "x") for i in range(13)])


def test_confidence_as_the_scorer() -> None:
    sure = FakeModel(lambda p: p, name="cheap", logprob=lambda t: -0.1 if "0" in t else -3.0)
    prompts = tuple(f"q {i % 2}" for i in range(20))
    quality = np.array([[float(i % 2 == 0), 1.0] for i in range(20)])
    data = Observed(("cheap", "dear"), prompts, quality, tuple(("a", "b") for _ in prompts), np.tile([1.0, 9], (20, 1)))
    fitted = FrugalGPT([sure, FakeModel(str, name="dear", logprob=-0.1)], scorer="confidence").fit(data)
    assert fitted.replay(data).quality.mean() == 1.0
    assert fitted.replay(data).cost.mean() == 5.5
    with pytest.raises(Unsupported, match="silent"):
        FrugalGPT([says("silent", "x"), says("dear", "y")], scorer="confidence").fit(data)


def test_scores_of_what_was_held_out_are_no_surer_than_they_should_be() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random((200, 1)) < 0.5).astype(float)  # nothing to learn
    texts = [[f"w{rng.integers(9)} w{rng.integers(9)}"] for _ in range(200)]
    state, told = fit_scorers(["q"] * 200, texts, right, seed=0)
    seen = scores_of(state, 0, ["q"] * 200, [t[0] for t in texts])
    assert np.abs(seen - right[:, 0]).mean() < np.abs(told[:, 0] - right[:, 0]).mean()
    assert len(scores_of(state, 0, [], [])) == 0
