"""Clusters of a similarity table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadParameter
from consort.zoo import cluster, components, leader

CHAIN = [[1, 0.96, 0.9], [0.96, 1, 0.96], [0.9, 0.96, 1]]


def test_a_chain_is_one_component_but_two_leaders():
    assert leader(CHAIN, [0, 1, 2]) == [[0, 1], [2]]
    assert leader(CHAIN, [1, 0, 2]) == [[1, 0, 2]]
    assert components(CHAIN, [2, 0, 1]) == [[2, 0, 1]]


def test_the_best_score_leads_and_represents():
    found = cluster(CHAIN, names="abc", scores=[0.1, 0.3, 0.2])
    assert [(one.members, one.representative) for one in found] == [((1, 2, 0), 1)]


def test_a_new_cluster_opens_for_every_stranger():
    table = [[1.0 if i == j else None for j in range(3)] for i in range(3)]
    assert [one.members for one in cluster(table, names="abc")] == [(0,), (1,), (2,)]


@given(st.permutations(range(6)), st.sampled_from(["leader", "components"]))
def test_separated_groups_are_found_in_any_order(order, method):
    table = [[0.99 if a % 2 == b % 2 else 0.1 for b in order] for a in order]
    found = cluster(table, names=[str(i) for i in order], method=method)
    assert {frozenset(order[i] for i in one.members) for one in found} == {frozenset({0, 2, 4}), frozenset({1, 3, 5})}


def test_wrong_inputs_are_named():
    for wrong in ({"method": "kmeans"}, {"threshold": 1.5}, {"scores": [1.0]}):
        with pytest.raises(BadParameter) as error:
            cluster(CHAIN, names="abc", **wrong)
        assert error.value.field in wrong
