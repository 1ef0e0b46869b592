"""Weighted spherical interpolation of two models."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter, Incompatible

R, S = [[2.0, 0], [0, 3]], [[0.0, 2], [0, 3]]


def test_matrices(gives):
    gives([[0.765367, 1.847759], [0, 0]], "nuslerp", ["P", "Q"], weight=[1, 3])
    gives([[2.414214, 2.414214], [1, 1]], "nuslerp", [[[3.0, 1], [1, 1]], [[1.0, 3], [1, 1]]], base="B")
    gives([[1.414214, 1.414214], [0, 3]], "nuslerp", [R, S], nuslerp_flatten=False)
    rows = {"nuslerp_flatten": False, "nuslerp_row_wise": True}
    gives([[1.414214, 1.044832], [0, 3.134495]], "nuslerp", [R, S], **rows)


def test_it_is_slerp_of_its_weights(merged):
    a, b = torch.randn(2, 7, 9, generator=torch.Generator().manual_seed(0))
    one, other = merged("nuslerp", [a, b], weight=[3, 1]), merged("slerp", [b], base=a, t=0.25)
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_weights_that_cancel_mean_the_middle(gives):
    gives([[1.414214, 1.414214], [0, 0]], "nuslerp", ["P", "Q"], weight=[1, -1])


def test_columns_of_three_dimensions_are_refused(merged):
    cube = torch.ones(2, 2, 2)
    with pytest.raises(Incompatible, match="w: vectors along the first of 3"):
        merged("nuslerp", [cube, cube], nuslerp_flatten=False, nuslerp_row_wise=True)


def test_two_models_are_needed(merged):
    with pytest.raises(BadParameter, match="models: nuslerp merges 2 models, not 3"):
        merged("nuslerp", ["P", "Q", "Z"])
