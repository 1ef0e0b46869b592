"""Thresholds of a cascade: every optimiser equals brute force on small cases."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consort.core.errors import BadParameter
from consort.ensemble.answers.thresholds import answered_by, best_chain, best_thresholds, outcome


def case(seed: int, n: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (n, levels)) / 4  # ties on purpose
    return scores, rng.integers(0, 2, (n, levels)).astype(float), rng.integers(1, 6, (n, levels)).astype(float)


def brute(scores: np.ndarray, quality: np.ndarray, cost: np.ndarray, budget: float) -> tuple[float, float] | None:
    values = [[*np.unique(scores[:, i]), np.inf] for i in range(scores.shape[1] - 1)]
    found = [outcome(scores, quality, cost, setting) for setting in product(*values)]
    within = [(-q, c) for q, c in found if c <= budget + 1e-9]
    return min(within, default=None)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 3), st.floats(1, 12))
def test_it_equals_brute_force(seed: int, n: int, levels: int, budget: float) -> None:
    scores, quality, cost = case(seed, n, levels)
    best, wanted = best_thresholds(scores, quality, cost, budget), brute(scores, quality, cost, budget)
    if best is None or wanted is None:
        assert best is None
        assert wanted is None
        return
    assert (-best.quality, best.cost) == pytest.approx(wanted)
    assert outcome(scores, quality, cost, best.thresholds) == pytest.approx((best.quality, best.cost))


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(1, 12))
def test_the_chain_equals_brute_force_over_permutations(seed: int, budget: float) -> None:
    scores, quality, cost = case(seed, 6, 3)
    options = []
    for size in (1, 2, 3):
        for chain in permutations(range(3), size):
            part = list(chain)
            found = brute(scores[:, part], quality[:, part], cost[:, part], budget)
            options += [found] if found else []
    if not options:
        with pytest.raises(BadParameter, match="budget"):
            best_chain(scores, quality, cost, budget)
        return
    best = best_chain(scores, quality, cost, budget)
    assert (-best.quality, best.cost) == pytest.approx(min(options))


@given(st.integers(0, 10**6), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_acceptance_at_once_equals_the_loop(seed: int, thresholds: list[float]) -> None:
    scores, _, _ = case(seed, 8, 3)
    looped = [next((i for i in range(2) if row[i] >= thresholds[i]), 2) for row in scores]
    assert answered_by(scores, thresholds).tolist() == looped


def test_a_bound_on_nothing_is_the_best_there_is() -> None:
    scores, quality, cost = case(3, 40, 2)
    scores[:, 0] = quality[:, 0]  # a perfect scorer: right where any model is
    best = best_thresholds(scores, quality, cost)
    assert best is not None
    assert best.quality == quality.max(1).mean()


def test_three_levels_of_many_values_are_near_the_optimum() -> None:
    rng = np.random.default_rng(1)
    quality = (rng.random((300, 3)) < [0.6, 0.7, 0.9]).astype(float)
    scores = quality * 0.4 + rng.random((300, 3))
    cost = np.tile([1.0, 3.0, 20.0], (300, 1))
    found = best_thresholds(scores, quality, cost, 8.0)
    exact = best_thresholds(scores, quality, cost, 8.0, grid=300)
    assert found is not None and exact is not None
    assert found.cost <= 8
    assert exact.quality - found.quality <= 0.01
