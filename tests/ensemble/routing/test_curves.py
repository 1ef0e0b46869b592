"""Quality over cost: figures by hand, and what random orders give."""

from __future__ import annotations

import numpy as np
import pytest

from consort.core.errors import BadData
from consort.ensemble.routing.cost_quality import aiq, apgr, cpt, hull, pareto, pgr, saving

STRONG, WEAK = np.array([1.0, 1, 1, 0]), np.array([1.0, 0, 0, 0])


def test_pgr_and_apgr_by_hand():
    scores = np.array([0.1, 0.9, 0.8, 0.0])  # the two gains first
    assert pgr(scores, STRONG, WEAK, 0.25) == 0.5
    assert pgr(scores, STRONG, WEAK, 1.0) == 1.0
    assert apgr(scores, STRONG, WEAK) == pytest.approx((0.25 + 0.75 + 1 + 1) / 4)
    assert cpt(scores, STRONG, WEAK, 0.8) == 0.5 and cpt(scores, STRONG, WEAK, 0.0) == 0.0


def test_equal_scores_are_one_straight_line():
    assert apgr(np.zeros(4), STRONG, WEAK) == pytest.approx(0.5)


def test_a_random_order_has_half():
    rng = np.random.default_rng(0)
    strong, weak = (rng.random((2, 1307)) < [[0.86], [0.64]]).astype(float)
    draws = [apgr(rng.random(1307), strong, weak) for _ in range(200)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.005)
    assert np.std(draws) == pytest.approx(0.021, abs=0.01)


def test_deciles_are_near_the_exact_curve():
    rng = np.random.default_rng(1)
    strong, weak = (rng.random((2, 1000)) < [[0.9], [0.5]]).astype(float)
    scores = strong - weak + rng.random(1000)
    assert apgr(scores, strong, weak, points="deciles") == pytest.approx(apgr(scores, strong, weak), abs=0.01)


def test_a_weak_strong_model_is_refused():
    with pytest.raises(BadData, match="not better"):
        apgr(np.arange(4.0), WEAK, STRONG)


def test_aiq_by_hand_and_what_is_dominated_changes_nothing():
    points = [(1.0, 0.5), (3.0, 0.9)]
    assert aiq(points) == pytest.approx(0.70)
    assert aiq([*points, (2.0, 0.6)]) == pytest.approx(0.70)
    assert aiq([*points, (2.0, 0.8)]) == pytest.approx((0.65 + 0.85) / 2)
    assert pareto([*points, (2.0, 0.4)]) == points
    assert hull([*points, (2.0, 0.6)]) == points
    assert aiq([(1.0, 0.5)]) == 0.5
    with pytest.raises(BadData):
        aiq([])


def test_saving_is_at_no_lower_quality():
    assert saving([(1.0, 0.5), (2.0, 0.9)], cost=8.0, quality=0.9) == 0.75
    with pytest.raises(BadData, match="no point"):
        saving([(1.0, 0.5)], cost=8.0, quality=0.9)
