"""Select, calculate, erase."""

from __future__ import annotations

import torch


def test_matrices(gives):
    gives([[5, -1.65], [2.65, 6]], "sce", ["X1", "X2"], base="B")
    gives([[5, 1], [1, 6]], "sce", ["X1", "X2"], base="B", select_topk=0.5)


def test_nothing_selected_is_the_base_and_nothing_varying_is_the_model(gives):
    gives([[1, 1], [1, 1]], "sce", ["X1", "X2"], base="B", select_topk=0)
    gives([[5, -1], [2, 1]], "sce", ["X1", "X1", "X1"], base="B", select_topk=0.1)


def test_entries_that_do_not_vary_are_not_counted(merged):
    one, other = torch.tensor([1.0, 2, 3, 4, 5, 6]), torch.tensor([1.0, 2, 3, 4, 0, 0])
    got = merged("sce", [one, other], base=torch.zeros(6), select_topk=0.5)  # one of the two that vary
    assert got.tolist() == [0, 0, 0, 0, 0, 6]


def test_the_selection_may_decide_on_weights_alone(merged):
    """As released: weights 1/6 and 5/6 come from the selected entries, but all entries are merged."""
    one, other = torch.tensor([[1.0, 2], [-3, 0]]), torch.tensor([[3.0, -2], [-1, 4]])
    got = merged("sce", [one, other], base=torch.zeros(2, 2), select_topk=0.5, mask_scope="coefficients")
    torch.testing.assert_close(got, torch.tensor([[8 / 3, 2], [-4 / 3, 4]]))
    got = merged("sce", [one, other], base=torch.zeros(2, 2), select_topk=0.5)
    assert got.tolist() == [[0, 2], [0, 4]]
