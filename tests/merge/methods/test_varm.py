"""Weights by energy."""

from __future__ import annotations

import torch

ONE, OTHER = torch.tensor([[1.0, 2], [-3, 0]]), torch.tensor([[3.0, -2], [-1, 4]])


def test_matrices(merged):
    """Squares sum to 14 and 30."""
    got = merged("varm", [ONE, OTHER], base=torch.zeros(2, 2))
    torch.testing.assert_close(got, (14 * ONE + 30 * OTHER) / 44)


def test_small_changes_have_the_same_weights(merged):
    got = merged("varm", [ONE * 1e-4, OTHER * 1e-4], base=torch.zeros(2, 2))
    torch.testing.assert_close(got, (14 * ONE + 30 * OTHER) / 44e4, rtol=1e-5, atol=0)


def test_copies_give_the_model_and_equal_models_the_base(merged):
    torch.testing.assert_close(merged("varm", [ONE, ONE], base=torch.zeros(2, 2)), ONE)
    assert merged("varm", [ONE, ONE], base=ONE).tolist() == ONE.tolist()
