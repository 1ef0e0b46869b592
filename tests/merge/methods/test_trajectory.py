"""Averages over the checkpoints of one training."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter

STEPS = [[0.0], [1.0], [2.0], [3.0]]


def test_the_moving_average_follows_slowly(merged):
    value = 0.0
    for step in STEPS[1:]:
        value = 0.9 * value + 0.1 * step[0]
    torch.testing.assert_close(merged("ema", STEPS, decay=0.9), torch.tensor([value]))
    assert merged("ema", STEPS, decay=0).tolist() == [3] and merged("ema", STEPS, decay=1).tolist() == [0]
    assert merged("ema", STEPS).item() == pytest.approx(0.006, rel=0.01)


def test_the_last_checkpoints_are_averaged(merged):
    assert merged("swa", STEPS).tolist() == [1.5] and merged("swa", STEPS, last=2).tolist() == [2.5]
    assert merged("swa", STEPS, last=9).tolist() == [1.5]


def test_ranges(merged):
    with pytest.raises(BadParameter, match="decay"):
        merged("ema", STEPS, decay=1.1)
    with pytest.raises(BadParameter, match="last"):
        merged("swa", STEPS, last=0)
