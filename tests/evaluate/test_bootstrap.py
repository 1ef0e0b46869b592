from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.evaluate.bootstrap import difference_interval, interval, interval_of, replicates, replicates_of
from consort.evaluate.registry import ratio


def rows_of(scores):
    return np.stack([scores, np.ones(len(scores))], axis=1)


def test_the_interval_of_a_mean_is_the_normal_one():
    rows = rows_of((np.arange(400) < 300).astype(float))
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert interval_of(rows, ratio) == pytest.approx((0.75 - half, 0.75 + half), abs=0.004)


def test_all_resamples_of_two_examples():
    drawn = replicates(rows_of(np.array([0.0, 1.0])), ratio)
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [0, 0.5, 1] and counts / 10_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


@given(st.floats(-1e6, 1e6).filter(lambda value: value not in (0, 1)), st.integers(1, 30))
def test_constants_have_a_point_as_interval(value, n):
    low, high = interval_of(rows_of(np.full(n, value)), ratio)
    assert low == high == value


def test_same_seed_same_resamples_whatever_the_block(monkeypatch):
    rows = rows_of(np.arange(7.0))
    whole = replicates(rows, ratio, seed=3)
    assert (whole == replicates(rows, ratio, seed=3)).all() and (whole != replicates(rows, ratio, seed=4)).any()
    monkeypatch.setattr("consort.evaluate.bootstrap.BLOCK", 70)
    assert (whole == replicates(rows, ratio, seed=3)).all()


def test_systems_share_the_sets_that_are_drawn():
    rng = np.random.default_rng(0)
    tables = [(rows_of(rng.random(9)), ratio), (np.stack([rng.random(9), rng.random(9)], axis=1), ratio)]
    together = replicates_of(tables, seed=2)
    for one, (rows, aggregate) in zip(together, tables, strict=True):
        assert (one == replicates(rows, aggregate, seed=2)).all()


def test_percentiles():
    assert interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))


# Wilson 1927, by hand: (p + z^2/2n -+ z sqrt(p (1-p) / n + z^2 / 4n^2)) / (1 + z^2/n), z = 1.96
@pytest.mark.parametrize(
    ("right", "n", "bounds"),
    [(3, 3, (0.4385, 1.0)), (0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (1, 1, (0.2065, 1.0))],
)
def test_C8_scores_of_zero_and_one_have_wilsons_interval(right, n, bounds):
    rows = rows_of((np.arange(n) < right).astype(float))
    assert interval_of(rows, ratio) == pytest.approx(bounds, abs=1e-4)
    assert interval_of(rows, ratio, span=(0, 1)) == interval_of(rows, ratio)
    scaled = rows * [2, 1] - [1, 0]  # in [-1, 1]
    assert interval_of(scaled, ratio, span=(-1, 1)) == pytest.approx([2 * b - 1 for b in bounds], abs=2e-4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_C8_scores_between_have_an_interval_inside_the_range_that_holds_the_score(scores):
    rows = rows_of(np.array(scores))
    low, high = interval_of(rows, ratio, span=(0, 1))
    assert 0 <= low <= np.mean(scores) + 1e-12 and np.mean(scores) - 1e-12 <= high <= 1 and low < high


def test_C8_the_interval_of_graded_scores_is_the_normal_one_for_many():
    scores = np.linspace(0.2, 0.8, 2000)
    half = 1.96 * scores.std() / 2000**0.5
    assert interval_of(rows_of(scores), ratio, span=(0, 1)) == pytest.approx((0.5 - half, 0.5 + half), abs=2e-4)


def test_C8_a_difference_of_three_right_answers_is_not_certain():
    right = rows_of(np.ones(3))
    drawn = replicates(right, ratio) - replicates(right, ratio)
    # Agresti and Min 2005: centre 0, variance (0 + 1) / 5, over 5
    half = 1.96 * (1 / 5 / 5) ** 0.5
    assert difference_interval(right, right, ratio, drawn, None) == pytest.approx((-half, half), abs=1e-4)
    ours, theirs = rows_of((np.arange(20) < 12) * 1.0), rows_of((np.arange(20) < 10) * 1.0)
    half = 1.96 * ((3 / 22 - (2 / 22) ** 2) / 22) ** 0.5
    assert difference_interval(ours, theirs, ratio, drawn, (0, 1)) == pytest.approx(
        (2 / 22 - half, 2 / 22 + half), abs=1e-4
    )
