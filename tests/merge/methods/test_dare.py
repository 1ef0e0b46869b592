"""Changes dropped at random."""

from __future__ import annotations

import pytest
import torch

from consort.merge import merge, methods

DELTA = torch.tensor([[[4.0, -2], [1, 0]]])
UNIFORM = torch.tensor([[[0.1, 0.9], [0.5, 0.2]]])  # keeps the diagonal at density 0.5: 0.5 is not below 0.5


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties"])
def test_matrices(name):
    method = methods.get(name)
    for rescale, expected in (("l1", 7), ("prob", 8), ("none", 4)):
        got = method(DELTA, uniform=UNIFORM, density=0.5, rescale=rescale)
        assert got.tolist() == [[expected, 0], [0, 0]]


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties"])
def test_nothing_is_kept_at_density_0(merged, name):
    assert merged(name, ["X1", "X2"], base="B", density=0).equal(torch.ones(2, 2))


def test_everything_is_kept_at_density_1(merged):
    plain = merged("task_arithmetic", ["X1", "X2"], base="B", weight=0.3)
    assert merged("dare_linear", ["X1", "X2"], base="B", weight=0.3, density=1).equal(plain)


@pytest.mark.parametrize("density", [0.1, 0.5])
def test_the_share_kept_is_the_density(memory, density):
    n = 10**6
    got = merge("dare_linear", [memory(torch.ones(n))], base=memory(torch.zeros(n)), density=density, rescale="none")
    assert abs(float(got["w"].sum()) - n * density) < 4 * (n * density * (1 - density)) ** 0.5


def test_the_mean_over_seeds_is_the_full_change(memory):
    base, model = memory(torch.zeros(64)), memory(torch.ones(64))
    draws = [merge("dare_linear", [model], base=base, seed=seed, density=0.5)["w"] for seed in range(200)]
    assert abs(float(torch.stack(draws).mean()) - 1) < 4 / (200 * 64) ** 0.5


def test_models_and_tensors_draw_by_themselves(memory):
    ones, zeros = {"a": torch.ones(1000), "b": torch.ones(1000)}, {"a": torch.zeros(1000), "b": torch.zeros(1000)}
    got = merge("dare_linear", [memory(ones)] * 2, base=memory(zeros), rescale="none", weight=[1, 2])
    counts = torch.bincount(got["a"].long(), minlength=4)
    assert (counts > 150).all() and not got["a"].equal(got["b"])
