"""Measures of a swarm, worked out by hand."""

from __future__ import annotations

import pytest

from consort.core.errors import BadParameter
from consort.search.swarm.analysis import (
    copies,
    correctness_emergence,
    correctness_surge,
    in_plane,
    level,
    rank_of,
    summary,
    weak_to_strong,
    weaker_half,
)


def test_levels_surge_and_emergence():
    before, after = (3, 2, 1, 0), (3, 3, 0, 1)
    assert [level(n, 4) for n in before] == [1, 2, 3, 4]
    assert [level(n, 4) for n in after] == [1, 1, 4, 3]
    assert correctness_surge(before, after, 4) == 0.5
    assert correctness_emergence(before, [True, True, True, True]) == 1
    assert correctness_emergence(before, [True, True, True, False]) == 0
    assert correctness_emergence((1, 1), [True, True]) is None
    with pytest.raises(BadParameter):
        level(5, 4)


def test_where_the_best_started():
    assert rank_of([0.1, 0.5, 0.5], 2) == 2
    found = weak_to_strong([(1, 10), (6, 10), (5, 10), (9, 10)])
    assert (found.first, found.lower_half) == (0.25, 0.5)


def test_studies():
    assert copies(2) == [0] * 5 + [1] * 5
    assert weaker_half([0.5, 0.1, 0.3, 0.2]) == [1, 3]
    with pytest.raises(BadParameter):
        copies(3)


def test_paths_lie_in_the_plane_of_largest_spread():
    flat = in_plane([(0, 0, 0), (3, 0, 0), (0, 1, 0), (3, 1, 0)])
    assert max(x for x, _ in flat) - min(x for x, _ in flat) == pytest.approx(3)
    assert in_plane([(1.0,), (2.0,)])[0][1] == 0


def test_a_summary_of_marks():
    found = summary({"a": "110", "b": "100"}, ["111", "110"], "101")
    assert found["c_emerge"] == 1 and found["c_emerge_any"] == 1
    assert found["unanswered"] == pytest.approx(1 / 3)
