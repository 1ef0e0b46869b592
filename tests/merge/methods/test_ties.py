"""Trim, elect, merge."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.merge import merge


def test_matrices(gives):
    def ties(expected, **params):
        gives(expected, "ties", ["X1", "X2"], base="B", **params)

    ties([[5, -1.5], [1, 6]], density=0.5)
    ties([[5, -4], [1, 6]], density=0.5, normalize=False)
    ties([[5.666667, -2.229167], [1, 7.875]], density=0.5, rescale="l1")
    ties([[0, -1.833333], [2.833333, 6]], density=1, weight=[1, 5])
    ties([[5, -1.833333], [2.833333, 6]], density=1, weight=[1, 5], elect="unweighted")
    ties([[5, -1.833333], [2.833333, 6]], density=1, weight=[1, 5], elect="count")  # 0 counts as plus
    ties([[1, 1], [1, 1]], density=0)


def test_the_scope_is_a_tensor_or_the_whole_model(memory):
    base, model = memory({"a": [0.0, 0], "b": [0.0, 0]}), memory({"a": [10.0, 9], "b": [1, 0.5]})
    tensor, whole = (merge("ties", [model], base=base, density=0.5, scope=scope) for scope in ("tensor", "model"))
    assert [tensor[name].tolist() for name in "ab"] == [[10, 0], [1, 0]]
    assert [whole[name].tolist() for name in "ba"] == [[0, 0], [10, 9]]


def test_one_model_untrimmed_is_that_model(gives):
    gives([[5, -1], [2, 1]], "ties", ["X1"], base="B", density=1)


def test_exactly_k_entries_are_kept_and_all_of_equal_magnitude(merged):
    values = torch.randn(999, generator=torch.Generator().manual_seed(0))
    assert int(merged("ties", [values], base=torch.zeros(999), density=0.25).count_nonzero()) == 249
    assert int(merged("ties", [values.sign()], base=torch.zeros(999), density=0.25).count_nonzero()) == 999


def test_mixed_signs_cannot_vote(merged):
    with pytest.raises(BadParameter, match="weight: .* both signs"):
        merged("ties", ["X1", "X2"], base="B", weight=[1, -1])


def test_a_density_is_a_share(merged):
    with pytest.raises(BadParameter, match="density: 50 is outside"):
        merged("ties", ["X1", "X2"], base="B", density=50)
