"""The gate with a guarantee: numbers, coverage, and what a quantile over failures alone does not bound."""

from __future__ import annotations

import numpy as np
import pytest

from consort.core.errors import BadData
from consort.ensemble.before.conformal_gate import ConformalGate, thresholds_of
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.conformal import last_that_holds, rank, refusing_failures, upper_bound
from consort.testing.router_laws import models, observed

SHARES = np.linspace(0.15, 1.0, 20)


def test_numbers():
    assert upper_bound(3, 100, 0.05) == pytest.approx(0.075711, abs=1e-6)
    assert upper_bound(0, 59, 0.05) == pytest.approx(0.049508, abs=1e-6)
    assert upper_bound(2, 60, 0.05) == pytest.approx(0.101236, abs=1e-6)
    assert upper_bound(0, 0, 0.05) == upper_bound(7, 7, 0.05) == 1.0
    assert rank(19, 0.1) == 18


def test_thresholds_go_on_until_one_fails():
    scores = np.arange(100.0)
    failed = scores < 40
    found, told = last_that_holds(scores, failed, [60.0, 40.0, 39.0, 0.0], 0.1, 0.05)
    assert [row[:3] for row in told] == [(60.0, 40, 0), (40.0, 60, 0), (39.0, 61, 1), (0.0, 100, 40)]
    assert found == 39.0
    assert last_that_holds(scores, failed, [0.0, 60.0], 0.1, 0.05)[0] is None  # the order is fixed: no second try


def simulated(seed: int, alpha: float, delta: float) -> tuple[float, float]:
    """Failure rates among what is let through, by the list of thresholds and by the quantile over failures."""
    rng = np.random.default_rng(seed)
    fit, check = rng.random(300), rng.random(300)
    fail = rng.random(300) < chance(check)
    found, _ = last_that_holds(check, fail, [float(np.quantile(fit, 1 - s)) for s in SHARES], alpha, delta)
    refused = refusing_failures(check, fail, alpha)
    return true_rate(found), true_rate(refused)


def chance(score: np.ndarray) -> np.ndarray:
    """A poor score: failures are 30 % at the bottom and 10 % at the top."""
    return 0.3 - 0.2 * score


def true_rate(threshold: float | None) -> float:
    """The failure rate of scores from the threshold on; 0 where nothing is let through."""
    if threshold is None or threshold >= 1:
        return 0.0
    return float(0.3 - 0.2 * (threshold + 1) / 2)


def test_coverage_and_the_quantile_that_bounds_something_else():
    rates = np.array([simulated(seed, 0.15, 0.1) for seed in range(400)])
    assert 0 < (rates[:, 0] > 0.15).mean() <= 0.1 + 0.03
    other = np.array([simulated(seed, 0.05, 0.1)[1] for seed in range(100)])
    assert (other > 0.05).mean() > 0.9  # at most 5 % of failures pass, and 10 % of what passes fails


def many(parts: int = 5) -> Observed:
    data = [observed(2, seed) for seed in range(parts)]
    prompts = sum((d.prompts for d in data), ())
    return Observed(data[0].models, prompts, np.concatenate([d.quality for d in data]))


def test_the_weak_model_answers_what_it_does_not_fail_at():
    data, fresh = many(), observed(seed=99)
    gate = ConformalGate(*models(), alpha=0.2, delta=0.1).fit(data)
    weak = gate.choose(fresh.queries) == 1
    assert gate.learned_values["why"] == "holds" and weak.mean() > 0.3
    assert 1 - fresh.quality[weak, 1].mean() <= 0.2
    none = ConformalGate(*models(), alpha=0.001).fit(data)
    assert (none.choose(fresh.queries) == 0).all() and "no threshold passes" in none.learned_values["why"]
    few = ConformalGate(*models(), alpha=0.2, bounds="answered_failures").fit(data)
    answered = few.choose(fresh.queries) == 1
    assert answered[fresh.quality[:, 1] == 0].mean() <= 0.3


def test_the_strictest_threshold_can_pass():
    thresholds = thresholds_of(np.linspace(0, 1, 101), 200, 0.1, 0.05)
    assert thresholds == sorted(thresholds, reverse=True) and thresholds[-1] == 0
    assert (1 - thresholds[0]) * 200 >= 2 * np.log(0.05) / np.log(0.9)


def test_too_few():
    with pytest.raises(BadData, match="too few"):
        ConformalGate(*models()).fit(observed().rows(range(10)))
