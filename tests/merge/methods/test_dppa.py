"""Pruning by magnitude, by outliers, and amplified partitions."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.merge import merge

DELTA = [[8.0, -7, 6, -5], [4, -3, 2, -1]]
ZERO = [[0.0] * 4] * 2


def test_partitions_are_amplified_by_magnitude(merged):
    def dppa(**params):
        return merged("dppa", [DELTA], base=ZERO, spread=0, **params).tolist()

    assert dppa(density=0.5) == [[8, -7, 6, -5], [0, 0, 0, 0]]
    assert dppa(density=0.5, amplify=[3, 2]) == [[24, -21, 12, -10], [0, 0, 0, 0]]
    assert dppa(density=1, amplify=[2, 1]) == [[16, -14, 12, -10], [4, -3, 2, -1]]
    assert dppa(density=0) == ZERO


def test_models_add_up(gives):
    gives([[9, -7], [1, 0]], "dppa", [[[8.0, -7], [0, 0]], [[1.0, 0], [1, 0]]], base="Z", density=0.5, spread=0)


def test_a_matrix_with_outliers_keeps_more(memory):
    flat, spiked = torch.ones(10, 10), torch.ones(10, 10)
    flat += torch.arange(100.0).view(10, 10) / 1000
    spiked = flat.clone()
    spiked[0, :2] = 60
    base = memory({"flat": torch.zeros(10, 10), "spiked": torch.zeros(10, 10), "norm": torch.zeros(10)})
    model = memory({"flat": flat, "spiked": spiked, "norm": torch.arange(10.0)})
    pruned = merge("dppa", [model], base=base, density=0.5, spread=0.1)
    assert {name: int(pruned[name].count_nonzero()) for name in pruned.keys()} == {"flat": 40, "spiked": 60, "norm": 5}


def test_no_partitions_are_refused(merged):
    with pytest.raises(BadParameter, match="amplify: there are no partitions"):
        merged("dppa", [DELTA], base=ZERO, amplify=[])
