"""The laws of strategies over finished answers find what breaks them (every strategy: test_registered)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort import lab
from consort.core.types import Completion
from consort.ensemble.after import after
from consort.ensemble.after.pair_ranker import PairJudge
from consort.models.judges.reward_model import RewardModel
from consort.testing import answer_laws as laws
from consort.weights import open_checkpoint


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_comparisons_of_scores_are_antisymmetric(scores: list[float]) -> None:
    laws.comparisons_are_antisymmetric(lambda pairs: [scores[a] - scores[b] for a, b in pairs], len(scores))


def test_a_ranker_that_prefers_the_first_is_found() -> None:
    with pytest.raises(AssertionError, match="order of the two"):
        laws.comparisons_are_antisymmetric(lambda pairs: [1.0 for _ in pairs], 3)


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
