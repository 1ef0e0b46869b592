"""Mean direction, mean length."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter, Incompatible


def test_matrices(gives):
    gives([[1.414214, 1.414214], [0, 0]], "multislerp", ["P", "Q"])
    gives([[0.632456, 1.897367], [0, 0]], "multislerp", ["P", "Q"], weight=[1, 3])
    gives([[2.121320, 2.121320], [0, 0]], "multislerp", ["P", "Q4"])


def test_directions_that_cancel(gives, merged):
    gives([[-1, 0], [0, 0]], "multislerp", ["P", [[-4.0, 0], [0, 0]]])
    with pytest.raises(Incompatible, match="w: the directions of the models cancel out"):
        merged("multislerp", [[1.0, 0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]])


def test_zeros_are_no_error(merged):
    assert merged("multislerp", ["B", "B", "B"], base="B").equal(torch.ones(2, 2))


def test_weights_that_cancel_are_refused(merged):
    with pytest.raises(BadParameter, match="weight: .* sum to zero"):
        merged("multislerp", ["P", "Q"], weight=[1, -1])
