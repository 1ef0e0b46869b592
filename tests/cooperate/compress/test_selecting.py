"""Selection by rank within a budget that is counted on the result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.cooperate.compress.allocation import rates, whole_budgets
from consort.cooperate.compress.parts import Budget, Part, Span
from consort.cooperate.compress.selecting import Scored, select, weighted_percentile
from consort.core.errors import BadParameter


def letters(text, scores):
    return Scored(text, [Span(i, i + 1) for i in range(len(text))], scores)


def test_the_best_units_stay_in_order_and_ties_keep_the_earlier():
    text = letters("abcd", [1.0, 3.0, 1.0, 2.0])
    assert select([text], 3, len) == [[True, True, False, True]]


def test_several_texts_share_one_budget():
    one, other = letters("ab", [5.0, 1.0]), letters("cd", [2.0, 9.0])
    assert select([one, other], 2, len) == [[True, False], [False, True]]


def test_what_does_not_fit_is_passed_over():
    text = Scored("aaaab", [Span(0, 4), Span(4, 5)], [9.0, 1.0])
    assert select([text], 2, len) == [[False, True]]


def test_a_count_that_grows_when_units_stand_alone():
    text = letters("abcdef", [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    kept = select([text], 5, lambda t: 2 * len(t) if len(t) < 6 else 6)
    assert sum(kept[0]) == 2


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=30), st.floats(0, 100))
def test_weighted_percentile_is_numpys_on_expanded_data(pairs, percent):
    values, weights = zip(*pairs, strict=True)
    wanted = np.percentile(np.repeat(values, weights), percent)
    assert weighted_percentile(values, weights, percent) == pytest.approx(wanted, abs=1e-12)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_budgets_of_parts_add_up(sizes, rate, spread):
    deltas = np.linspace(spread, -spread, len(sizes)).tolist()
    shares = rates(sizes, rate, deltas)
    most = round(rate * sum(sizes))
    assert ((shares >= 0) & (shares <= 1)).all()
    assert np.dot(shares, sizes) == pytest.approx(rate * sum(sizes), abs=1e-6)
    assert sum(whole_budgets(sizes, shares.tolist(), most)) == most


@pytest.mark.parametrize(
    "wrong", [{}, {"rate": 0.5, "tokens": 3}, {"rate": 1.5}, {"tokens": -1}, {"threshold": np.nan}]
)
def test_budgets_that_are_none(wrong):
    with pytest.raises(BadParameter):
        Budget(**wrong)


def test_the_question_is_no_context():
    assert Part("x").role == "context"
