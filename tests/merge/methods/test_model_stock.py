"""The mean, drawn to the base."""

from __future__ import annotations

import logging

import pytest

from consort.core.errors import BadParameter

E1, E2 = [[1.0, 0], [0, 0]], [[0.6, 0.8], [0, 0]]


def test_matrices(gives):
    gives([[0.6, 0.3], [0, 0]], "model_stock", [E1, E2], base="Z")
    gives([[0.6, 0.3], [0, 0]], "model_stock", [E1, E2], base="Z", filter_wise=True)


def test_small_changes_have_directions_too(merged):
    got = merged("model_stock", [[1e-4, 0], [0.6e-4, 0.8e-4]], base=[0.0, 0])
    assert got.tolist() == pytest.approx([6e-5, 3e-5], rel=1e-6)


def test_opposite_changes_leave_the_base(gives, merged, caplog):
    with caplog.at_level(logging.WARNING):
        gives([0, 0], "model_stock", [[1.0, 0], [-0.6, 0.8]], base=[0.0, 0])
    assert "clamped" in caplog.text
    assert merged("model_stock", [[1.0, 0], [-0.6, 0.8]], base=[0.0, 0], clamp=False).tolist() == pytest.approx(
        [-0.6, -1.2], rel=1e-5
    )


def test_rows_have_ratios_of_their_own(gives):
    one, other = [[1.0, 0], [0, 2]], [[0.6, 0.8], [0, 2]]
    gives([[0.6, 0.3], [0, 2]], "model_stock", [one, other], base="Z", filter_wise=True)


def test_two_models_are_needed(merged):
    with pytest.raises(BadParameter, match="models: model_stock merges 2 or more models"):
        merged("model_stock", ["X1"], base="B")
