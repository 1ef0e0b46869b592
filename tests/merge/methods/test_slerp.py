"""Spherical interpolation between base and model."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from consort.merge import methods


def test_matrices(gives):
    gives([[1.732051, 1], [0, 0]], "slerp", ["Q"], base="P", t=1 / 3)
    gives([[1.414214, 1.414214], [0, 0]], "slerp", ["Q"], base="P", t=0.5)
    gives([[1.414214, 2.828427], [0, 0]], "slerp", ["Q4"], base="P", t=0.5)


def test_parallel_and_opposite_tensors_lie_on_a_chord(gives):
    gives([[3, 0], [0, 0]], "slerp", [[[4.0, 0], [0, 0]]], base="P", t=0.5)
    gives([[1, 0], [0, 0]], "slerp", [[[-2.0, 0], [0, 0]]], base="P", t=0.25)


def test_the_ends_are_the_models_and_zeros_are_no_direction(gives, merged):
    gives([[5, -1], [2, 1]], "slerp", ["X1"], base="X2", t=1)
    gives([[0, -2], [3, 6]], "slerp", ["X1"], base="X2", t=0)
    assert merged("slerp", ["Z"], base="Z", t=0.5).equal(torch.zeros(2, 2))


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_equal_norms_are_kept(seed, t):
    a, b = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(seed))
    b *= a.norm() / b.norm()
    between = methods.get("slerp")(torch.stack((a, b)), t=t)
    assert float(between.norm()) == pytest.approx(float(a.norm()), rel=1e-5)


def test_the_angle_is_measured_in_float64(merged):
    a = torch.ones(2**18 + 1)
    a[0] = sqrt(2**18) * 100  # float32 sums lose the ones beside their square
    between = merged("slerp", [a.flip(0)], base=a, t=0.5).double()
    assert float(between.norm()) == pytest.approx(float(a.double().norm()), rel=1e-6)
