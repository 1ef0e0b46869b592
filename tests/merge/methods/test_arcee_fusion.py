"""Entries that matter much."""

from __future__ import annotations

from math import log

import torch

from consort.merge.methods.arcee_fusion import importance


def test_matrices(gives):
    rows = [[log(2), 0.0]] * 3 + [[log(8), 0.0]]
    gives([[0, 0], [0, 0], [0, 0], [log(8), 0]], "arcee_fusion", [rows], base=torch.zeros(4, 2))


def test_importance_is_change_times_divergence():
    base, model = torch.zeros(1, 2), torch.tensor([[log(3), 0.0]])
    divergence = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    expected = torch.tensor([[log(3) * divergence, 0]])
    torch.testing.assert_close(importance(torch.stack((base, model))), expected)


def test_an_equal_model_is_the_base(merged):
    values = torch.tensor([[1.0, -0.0], [2, 3]])
    assert merged("arcee_fusion", [values], base=values).equal(values)
