"""Linear layers by least squares on their inputs."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.merge import merge

GRAMS = ([[2.0, 1], [1, 2]], [[1.0, 0], [0, 3]])
LAYERS = ([[1.0, 0], [0, 1]], [[0.0, 1], [1, 0]])


@pytest.fixture
def regmean(memory):
    def run(layers=LAYERS, grams=GRAMS, **params):
        statistics = [memory({"w": gram} if gram is not None else {}) for gram in grams]
        return merge("regmean", [memory(layer) for layer in layers], statistics=statistics, **params)["w"]

    return run


@pytest.mark.parametrize(
    ("a", "expected"),
    [
        (1, [[0.428571, 0.714286], [0.571429, 0.285714]]),
        (0.9, [[0.457364, 0.697674], [0.542636, 0.302326]]),
        (0, [[0.666667, 0.6], [0.333333, 0.4]]),
    ],
)
def test_matrices(regmean, a, expected):
    torch.testing.assert_close(regmean(off_diagonal=a), torch.tensor(expected), rtol=0, atol=1e-5)


def test_equal_layers_stay_and_layers_without_inputs_are_averaged(regmean):
    layer = [[0.3, -2.0], [1, 7]]
    assert regmean([layer, layer]).tolist() == torch.tensor(layer).tolist()
    assert regmean(grams=(None, None), weight=[1, 3]).tolist() == [[0.25, 0.75], [0.75, 0.25]]
    assert regmean(grams=(torch.zeros(2, 2),) * 2).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_an_input_that_never_fires_has_the_mean(regmean):
    found = regmean(grams=([[1.0, 0], [0, 0]],) * 2)
    torch.testing.assert_close(found[:, 1], torch.tensor([0.5, 0.5]), rtol=1e-6, atol=0)


def test_outputs_are_nearer_than_those_of_the_mean(regmean):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(40, 6, generator=generator) @ torch.randn(6, 6, generator=generator) for _ in range(3)]
    layers = [torch.randn(4, 6, generator=generator) for _ in range(3)]
    found = regmean(layers, [x.T @ x for x in inputs], off_diagonal=1)

    def error(layer):
        return sum(float((x @ (layer - own).T).square().sum()) for x, own in zip(inputs, layers, strict=True))

    assert error(found) < 0.9 * error(sum(layers) / 3)


def test_matrices_that_are_no_gram_matrices_are_refused(regmean):
    with pytest.raises(BadParameter, match="no Cholesky factor"):
        regmean(grams=([[1.0, 9], [9, 1]],) * 2, off_diagonal=1)
