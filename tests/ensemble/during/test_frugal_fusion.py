"""Experts asked one by one while they are worth their price."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consort.core.errors import BadParameter
from consort.ensemble.during.frugal_fusion import FrugalFusion, next_expert, vote
from consort.models import FakeModel


@pytest.fixture
def examples(tmp_path: Path) -> str:
    """Ten easy and ten hard questions."""
    rows = [{"prompt": f"{kind} {i}", "target": str(i), "split": "dev"} for kind in ("easy", "hard") for i in range(10)]
    file = tmp_path / "task.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "split": "test"}]))
    return str(file)


SMALL = FakeModel(lambda prompt: prompt.split()[1] if prompt.startswith("easy") else "?", name="small")
LARGE = FakeModel(lambda prompt: prompt.split()[1], name="large")


def test_only_hard_questions_go_to_the_large_model(examples: str) -> None:
    team = FrugalFusion([SMALL, LARGE], examples=examples, cost=[1, 4], lambda_=0.1, neighbours=3)
    easy, hard = team.generate(["easy 3", "hard 4"])
    assert (easy.text, easy.details["asked"], list(easy.cost)) == ("3", ["small"], ["small"])
    assert (hard.text, hard.details["answered_by"]) == ("4", "large")


def test_price_decides(examples: str) -> None:
    free = FrugalFusion([SMALL, LARGE], examples=examples, lambda_=0.0).generate(["hard 4"])[0]
    assert free.text == "4"
    dear = FrugalFusion([SMALL, LARGE], examples=examples, cost=[1, 40], neighbours=3).generate(["hard 4"])[0]
    assert dear.details["asked"] == ["small"]


def test_the_path_looks_past_a_useless_step() -> None:
    """Neither of two helps alone, both together are right: both are asked."""
    losses = np.array([1.0, 1.0, 1.0, 0.0])
    assert next_expert(losses, set(), np.array([0.1, 0.1])) == 0
    assert next_expert(losses, {0}, np.array([0.1, 0.1])) == 1
    assert next_expert(losses, {0, 1}, np.array([0.1, 0.1])) is None
    assert next_expert(losses, {0}, np.array([0.1, 1.5])) is None


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_the_path_is_the_shortest(losses: list[float], prices: list[float]) -> None:
    best = min(losses[s] + sum(prices[m] for m in range(3) if s >> m & 1) for s in range(1, 8))
    seen: set[int] = set()
    while (step := next_expert(np.array(losses), seen, np.array(prices))) is not None:
        seen.add(step)
    assert losses[sum(1 << m for m in seen)] + sum(prices[m] for m in seen) == pytest.approx(best)


def test_votes_are_weighted() -> None:
    assert vote({0: "a", 1: "b", 2: "b "}, np.array([0.5, 0.3, 0.3])) == 1
    assert vote({0: "a", 1: "b"}, np.array([0.5, 0.5])) == 0


def test_bad_arguments_are_named(examples: str) -> None:
    with pytest.raises(BadParameter, match="cost"):
        FrugalFusion([SMALL, LARGE], examples=examples, cost=[1])
    with pytest.raises(BadParameter, match="models"):
        FrugalFusion([SMALL] * 11, examples=examples)
