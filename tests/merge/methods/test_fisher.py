"""Averages weighted by Fisher information."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter, Incompatible
from consort.merge import merge

THETA, F = ([1.0, 0], [0.0, 2]), ([3.0, 1], [1.0, 3])


@pytest.fixture
def fisher(memory):
    def run(theta=THETA, f=F, **params):
        models, statistics = ([memory(values) for values in each] for each in (theta, f))
        return merge("fisher", models, statistics=statistics, **params)["w"]

    return run


def test_the_surer_model_counts_more(fisher):
    for normalise in (True, False):
        assert fisher(normalise=normalise).tolist() == [0.75, 1.5]
    assert fisher(weight=[1, 0]).tolist() == [1, 0]


def test_equal_information_is_the_mean(fisher):
    assert fisher(f=([2.0, 5], [2.0, 5])).tolist() == [0.5, 1]


def test_where_all_lie_at_the_floor_the_mean_remains(fisher):
    assert fisher(f=([0.0, 3], [0.0, 1]), normalise=False).tolist() == [0.5, 0.5]
    assert fisher(f=([0.0, 0], [0.0, 0]), floor=0).tolist() == [1, 0]  # no information at all: the first model


def test_normalised_information_has_no_scale(fisher):
    scaled = fisher(f=([3e6, 1e6], [1.0, 3]))
    torch.testing.assert_close(scaled, torch.tensor([0.75, 1.5]), rtol=1e-6, atol=0)


def test_the_norm_is_that_of_the_whole_model(memory):
    theta = [memory({"a": [1.0], "b": [1.0]}), memory({"a": [0.0], "b": [0.0]})]
    f = [memory({"a": [3.0], "b": [4.0]}), memory({"a": [5.0], "b": [0.0]})]
    assert merge("fisher", theta, statistics=f)["a"].item() == pytest.approx(0.6 / 1.6, rel=1e-6)


def test_statistics_are_checked(memory):
    models = [memory([1.0, 0]), memory([0.0, 2])]
    with pytest.raises(BadParameter, match="statistics: fisher needs statistics of each of the 2 models, not 0"):
        merge("fisher", models)
    with pytest.raises(BadParameter, match="statistics: linear uses no statistics"):
        merge("linear", models, statistics=models)
    with pytest.raises(Incompatible, match=r"w is \[3\]"):
        merge("fisher", models, statistics=[memory([1.0, 2, 3])] * 2)
