"""Linear assignment."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from consort.weights.views.assignment import assign


def test_the_best_sum_is_not_the_greedy_one():
    assert assign(np.array([[10.0, 9.0], [9.0, 1.0]])).tolist() == [1, 0]


def test_no_rows_and_one():
    assert assign(np.zeros((0, 0))).tolist() == []
    assert assign(np.array([[-3.0]])).tolist() == [0]


def test_a_permutation_matrix_is_found():
    order = np.random.default_rng(0).permutation(50)
    assert assign(np.eye(50)[order]).tolist() == order.tolist()


@given(st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=60)
def test_no_other_order_has_a_greater_sum(n, seed):
    gain = np.random.default_rng(seed).integers(-5, 6, size=(n, n)).astype(float)
    found = assign(gain)
    assert sorted(found) == list(range(n))
    assert gain[np.arange(n), found].sum() == max(gain[np.arange(n), list(p)].sum() for p in permutations(range(n)))
