"""The mean on the sphere."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter


def test_matrices(gives):
    gives([[1.414214, 1.414214], [0, 0]], "karcher", ["P", "Q"])
    gives([[2.121320, 2.121320], [0, 0]], "karcher", ["P", "Q4"])
    gives([[1.732051, 1], [0, 0]], "karcher", ["P", "P", "Q"])
    gives([[1.732051, 1], [0, 0]], "karcher", ["P", "Q"], weight=[2, 1])


def test_it_is_where_the_logarithms_cancel(merged):
    points = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)).double()
    points /= points.norm(dim=1, keepdim=True)
    mean = merged("karcher", list(points.float()), max_iter=100, tol=1e-9).double()
    cosine = points @ mean
    scale = cosine.acos() / (1 - cosine**2).sqrt()
    step = (scale[:, None] * (points - cosine[:, None] * mean)).sum(0)
    assert float(step.norm()) < 1e-6


def test_zeros_count_in_the_length_only(gives):
    gives([[1, 0], [0, 0]], "karcher", ["P", "Z"])
    gives([[0, 0], [0, 0]], "karcher", ["Z", "Z"])


def test_weights_that_cancel_are_refused(merged):
    with pytest.raises(BadParameter, match="weight: .* sum to zero"):
        merged("karcher", ["P", "Q"], weight=[1, -1])
