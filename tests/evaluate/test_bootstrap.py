from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.evaluate.bootstrap import interval, interval_of, replicates
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


@given(st.floats(-1e6, 1e6), st.integers(1, 30))
def test_constants_have_a_point_as_interval(value, n):
    low, high = interval_of(rows_of(np.full(n, value)), ratio)
    assert low == high == value


def test_same_seed_same_resamples_whatever_the_block(monkeypatch):
    rows = rows_of(np.arange(7.0))
    whole = replicates(rows, ratio, seed=3)
    assert (whole == replicates(rows, ratio, seed=3)).all() and (whole != replicates(rows, ratio, seed=4)).any()
    monkeypatch.setattr("consort.evaluate.bootstrap.BLOCK", 70)
    assert (whole == replicates(rows, ratio, seed=3)).all()


def test_percentiles():
    assert interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
