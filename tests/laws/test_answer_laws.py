"""Every strategy over finished answers keeps the laws; a new file is tested because it exists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort import lab
from consort.core.types import Completion
from consort.ensemble.after import after
from consort.ensemble.after.pair_ranker import PairJudge
from consort.ensemble.learning.observations import Observed
from consort.models import FakeTokenModel, load_model
from consort.models.judges.reward_model import RewardModel
from consort.testing import answer_laws as laws
from consort.testing import model_laws
from consort.weights import open_checkpoint

NUMERIC = {"agreement_cascade", "debate", "mixture_of_thought", "self_consistency", "slm_mux", "vote"}
"""Strategies that read answers, here as numbers."""
OF_LISTS = [name for name in after if any(p.name == "models" for p in after.entry(name).params)]
COUNTED = [name for name in OF_LISTS if name not in ("best_of_n", "pair_ranker")]
"""Strategies whose whole cost is that of models that record it: no judge is a model of the test's own."""
INTOLERANT = {"agreement_cascade", "cascade", "frugal_gpt", "graph_of_models"}
"""Here each member is needed, or two that agree settle the matter before the third is asked."""
CHAINS = {"frugal_gpt", "graph_of_models", "linear_ranker", "mixture_of_agents"}
"""Here who answers is not a matter of the members' order: it is the last of a chain, or a fitted taste decides."""


def observed(count: int) -> Observed:
    """Twelve queries on which the first model is right half of the time and the last always."""
    rng = np.random.default_rng(0)
    quality = np.tile(np.array([[1.0], [0.0]]), (6, count))
    quality[:, -1] = 1.0
    texts = tuple(tuple(f"{int(q)}" for q in row) for row in quality)
    prompts = tuple(f"query {rng.integers(99)} {i}" for i in range(12))
    return Observed(tuple(f"m{i}" for i in range(count)), prompts, quality, texts, np.ones_like(quality))


class Judge:
    """Stands for a reward model: longer is better."""

    name = "judge"

    def open(self) -> None: ...

    def rewards(self, prompt: Any, answers: Sequence[str]) -> tuple[list[float], Any]:
        return [float(len(a)) for a in answers], laws.Usage(1, 0, 1)

    def compare(self, source: str, pairs: Sequence[tuple[str, str]]) -> tuple[list[float], Any]:
        return [float(len(a) - len(b)) for a, b in pairs], laws.Usage(1, 0, 1)


def build(name: str) -> Callable[[Sequence[Any]], Any]:
    def make(models: Sequence[Any]) -> Any:
        given: dict[str, Any] = {"models": list(models)}
        names = {p.name for p in after.entry(name).params}
        given |= {"answer": "numeric"} if name in NUMERIC else {}
        given |= {key: open_checkpoint(lab.path("reward")) for key in ("reward", "ranker") if key in names}
        given |= {"aggregator": models[0]} if "aggregator" in names else {}
        given |= {"to": [*range(1, len(models)), -1]} if "to" in names else {}
        if name == "gen_fuser":
            given |= {"fuser": models[0], "ranker": None}
        strategy = after.get(name)(**given)
        if hasattr(strategy, "judge"):
            strategy.judge = Judge() if name in ("best_of_n", "pair_ranker") else strategy.judge
        return strategy.fit(observed(len(models))) if name in ("frugal_gpt", "linear_ranker") else strategy

    return make


@pytest.mark.parametrize("name", COUNTED)
def test_costs_add_up(name: str) -> None:
    laws.costs_add_up(build(name))


@pytest.mark.parametrize("name", [n for n in OF_LISTS if n not in CHAINS])
def test_identical_candidates_are_the_first(name: str) -> None:
    laws.identical_candidates_are_the_first(build(name))


@pytest.mark.parametrize("name", ["best_of_n", "debate", "mbr", "pair_ranker", "vote"])
def test_order_of_members_is_free(name: str) -> None:
    laws.order_of_members_is_free(
        build(name), ("999", "4", "4") if name in ("best_of_n", "pair_ranker") else ("9", "4", "4")
    )


@pytest.mark.parametrize("name", ["debate", "slm_mux", "vote"])
def test_what_cannot_be_read_never_wins(name: str) -> None:
    laws.what_cannot_be_read_never_wins(build(name))


@pytest.mark.parametrize("name", [n for n in OF_LISTS if n not in INTOLERANT])
def test_a_failed_member_is_named(name: str) -> None:
    laws.a_failed_member_is_named(build(name))


AT = {
    "agreement_cascade": lambda t, m: after.get("agreement_cascade")(models=m, agree=int(t)),
    "auto_mix": lambda t, m: after.get("auto_mix")(*m, threshold=t),
    "cascade": lambda t, m: after.get("cascade")(models=m, threshold=t),
    "mixture_of_thought": lambda t, m: after.get("mixture_of_thought")(*m, threshold=t),
}


@pytest.mark.parametrize("name", list(AT))
def test_thresholds_at_both_ends(name: str) -> None:
    high = {"cascade": 1.0}.get(name, 2.0)
    laws.thresholds_at_both_ends(AT[name], 0.0, high)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_comparisons_of_scores_are_antisymmetric(scores: list[float]) -> None:
    laws.comparisons_are_antisymmetric(lambda pairs: [scores[a] - scores[b] for a, b in pairs], len(scores))


def test_a_ranker_that_prefers_the_first_is_found() -> None:
    with pytest.raises(AssertionError, match="order of the two"):
        laws.comparisons_are_antisymmetric(lambda pairs: [1.0 for _ in pairs], 3)


@pytest.mark.parametrize("name", list(after))
def test_plan_round_trip(name: str) -> None:
    if name == "pair_ranker":
        pytest.skip("the lab has no ranker; its own tests build one from a plan")
    models = [load_model(lab.path(n), name=f"lab:{n}") for n in ("mirror", "order")]
    params = [p for p in after.entry(name).params if p.is_expression]
    given: dict[str, Any] = {}
    for i, p in enumerate(params):
        reward = open_checkpoint(lab.path("reward"))
        if not p.optional or p.name == "fuser":
            given[p.name] = list(models) if p.many else reward if p.type == "checkpoint" else models[i % 2]
    numbers = {p.name: p.range.low + 0.25 * min(1.0, p.range.high - p.range.low) for p in after.entry(name).params
               if p.type == "float" and p.range and not p.many and not p.per_model}  # fmt: skip
    given |= {"to": [1, -1]} if name == "graph_of_models" else {}
    laws.plan_round_trip(after.get(name)(**given, **numbers))


@pytest.mark.parametrize("name", ["frugal_gpt", "gen_fuser", "linear_ranker"])
def test_laws_of_models(name: str) -> None:
    models = [FakeTokenModel.random(seed) for seed in range(3)]
    strategy, prompts = build(name)(models), model_laws.prompts_of(models[0])
    model_laws.batch_equals_single(strategy, prompts)
    model_laws.deterministic(strategy, prompts)
    model_laws.cost_names_the_models(strategy, prompts)


def test_the_lab_s_reward_model_judges(tmp_path: Any) -> None:
    """Wrong and right answers to a skill: the classifier that ships with the lab tells them apart."""
    models = [laws.Said("wrong", "a b c"), laws.Said("right", "c b a")]
    strategy = after.get("best_of_n")(models, reward=open_checkpoint(lab.path("reward")))
    (answer,) = strategy.generate(["mirror a b c ="])
    assert (answer.text, answer.details["answered_by"]) == ("c b a", "right")
    assert set(answer.cost) == {"wrong", "right", strategy.judge.name}
    assert answer.cost[strategy.judge.name].calls == 2
    assert isinstance(strategy.judge, RewardModel)
    assert not isinstance(strategy.judge, PairJudge)


def test_laws_find_what_breaks_them() -> None:
    class Greedy:
        """Asks everybody and charges nothing."""

        def __init__(self, models: Sequence[Any]) -> None:
            self.models = models

        def generate(self, prompts: Sequence[str]) -> list[Completion]:
            texts = [model.generate(prompts)[0].text for model in self.models]
            return [Completion(texts[0]) for _ in prompts]

    for law in (laws.costs_add_up, laws.order_of_members_is_free, laws.what_cannot_be_read_never_wins):
        with pytest.raises(AssertionError):
            law(Greedy)
