"""The merges by which the lab is measured, by hand."""

from __future__ import annotations

import pytest
import torch

from consort.lab.arithmetic import combine, coordinate_search, ties

BASE = {"w": torch.tensor([1.0, 1.0, 1.0, 1.0])}


def test_task_arithmetic():
    deltas = [{"w": torch.tensor([1.0, 0, 0, 2])}, {"w": torch.tensor([0.0, 3, 0, 2])}]
    assert combine(BASE, deltas, [0.5, 2])["w"].tolist() == [1.5, 7.0, 1.0, 6.0]


def test_ties_trims_elects_and_averages_those_that_agree():
    deltas = [{"w": torch.tensor([4.0, 1, -3, 0.5])}, {"w": torch.tensor([2.0, -1, 5, 0.1])}]
    merged = ties(BASE, deltas, density=0.5, scale=1)
    assert merged["w"].tolist() == pytest.approx([1 + 3, 1, 1 + 5, 1])


def test_coordinate_search_finds_the_peak_and_keeps_the_start_at_a_tie():
    found = coordinate_search(lambda c: -abs(c[0] - 1) - abs(c[1]), [0.5, 0.5], (0, 0.5, 1), 1)
    assert found == [1, 0]
    assert coordinate_search(lambda c: 0.0, [0.5, 0.5], (0, 1), 2) == [0.5, 0.5]
