"""The weighted average."""

from __future__ import annotations

import pytest

from consort.core.errors import BadParameter


def test_matrices(gives):
    gives([[1.25, -1.75], [2.75, 4.75]], "linear", ["X1", "X2"], weight=[1, 3])
    gives([[5, -7], [11, 19]], "linear", ["X1", "X2"], weight=[1, 3], normalize=False)


def test_a_single_model_is_kept(gives):
    gives([[5, -1], [2, 1]], "linear", ["X1"], weight=0.3)


@pytest.mark.parametrize("weight", [[1, -1], [0, 0], [1e9, -1e9]])
def test_weights_that_cancel_are_refused(merged, weight):
    with pytest.raises(BadParameter, match="weight: .* sum to zero"):
        merged("linear", ["X1", "X2"], weight=weight)
    merged("linear", ["X1", "X2"], weight=weight, normalize=False)


def test_weights_are_equal_by_default(gives):
    gives([[2.5, -1.5], [2.5, 3.5]], "linear", ["X1", "X2"])


def test_as_many_weights_as_models(merged):
    with pytest.raises(BadParameter, match="weight: 3 values for 2 models"):
        merged("linear", ["X1", "X2"], weight=[1, 2, 3])
