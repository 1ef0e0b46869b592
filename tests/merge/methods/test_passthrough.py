"""One model as it is."""

from __future__ import annotations

import torch


def test_scale(gives):
    gives([[5, -1], [2, 1]], "passthrough", ["X1"])
    gives([[10, -2], [4, 2]], "passthrough", ["X1"], scale=2)


def test_the_bits_are_kept(merged):
    values = torch.tensor([-0.0, 1e-42, 3.4e38])
    assert merged("passthrough", [values]).view(torch.int32).equal(values.view(torch.int32))
