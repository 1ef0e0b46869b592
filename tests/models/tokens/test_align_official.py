"""The programme of FuseLLM and FuseChat: paths and costs by hand, its rules, its tie orders against a plain one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.models.tokens.dtw import costs, partners, path
from consort.models.tokens.edit_distance import distances


def strings(tokens: str) -> list[bytes]:
    return [token.encode() for token in tokens.split()]


CASES = [
    ("un believ able !", "unbeliev able !", [[0, 1], [2], [3]], 8),
    ("unbeliev able", "un believ able", [[0], [0], [1]], 8),
    ("utilize s", "util izes", [[0], [1]], 6),
    ("The cat sat", "The c at sat", [[0], [1], [1], [2]], 3),
]


@pytest.mark.parametrize("rule", ["default", "hard"])
@pytest.mark.parametrize(("source", "pivot", "places", "cost"), CASES)
def test_paths_by_hand(source, pivot, places, cost, rule):
    assert path(costs(strings(source), strings(pivot), rule), rule) == (places, cost)


def test_rules_by_hand():
    source, pivot = strings("un believ able !"), strings("unbeliev able !")
    places = [[0, 1], [2], [3]]
    assert partners(source, pivot, places, "default").tolist() == [1, 2, 3]
    assert partners(source, pivot, places, "hard").tolist() == [-1, 2, 3]
    assert partners([b" big"], [b"large"], [[0]], "soft", alike={b" big": b"large"}).tolist() == [0]
    assert partners([b" big"], [b"large"], [[0]], "hard").tolist() == [-1]
    assert partners([b"ab", b"cd", b"x"], [b"abcd"], [[0, 1, 2]], "default").tolist() == [1]


def test_a_pair_of_bare_spaces_is_compared_with_them():
    assert costs([b" "], [b" a"], "default").tolist() == [[1]]
    assert costs([b" "], [b" ab"], "hard").tolist() == [[2]]
    assert costs([b" "], [b"a"], "default").tolist() == [[1]]


def plain(cost, order):
    """The programme as it is written down, cell by cell; order is a list of (steps in i, steps in j)."""
    m, n = cost.shape
    far = 10**9
    d = np.full((m + 1, n + 1), far)
    d[0, 0] = 0
    came = {}
    for i in range(1, m + 1):
        for j in range(1, n + 1):
            ways = [(d[i - a, j - b], k) for k, (a, b) in enumerate(order)]
            best = min(ways)
            d[i, j], came[i, j] = cost[i - 1, j - 1] + best[0], order[best[1]]
    i, j, found = m, n, [[] for _ in range(n)]
    while i and j:
        found[j - 1].insert(0, i - 1)
        a, b = came[i, j]
        i, j = i - a, j - b
    return found, int(d[m, n])


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=6))
def test_the_table_is_filled_as_written(rows):
    cost = np.array(rows)
    assert path(cost, "default") == plain(cost, [(1, 1), (0, 1), (1, 0)])
    assert path(cost, "hard") == plain(cost, [(1, 1), (1, 0), (0, 1)])


def levenshtein(a: bytes, b: bytes) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


text = st.binary(max_size=8) | st.sampled_from([b"x" * 64, b"xy" * 40, b" " * 70])


@given(st.lists(text, min_size=1, max_size=5), st.lists(text, min_size=1, max_size=5))
def test_distances_are_those_of_the_table(ones, others):
    assert distances(ones, others).tolist() == [[levenshtein(a, b) for b in others] for a in ones]
