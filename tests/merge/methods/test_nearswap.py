"""Bounded steps."""

from __future__ import annotations

import pytest

from consort.core.errors import BadParameter


def test_matrices(gives):
    gives([[2, 0], [2, 1]], "nearswap", ["X1"], base="B", t=1)
    gives([[1, 1], [1, 1]], "nearswap", ["X1"], base="B", t=0)


def test_t_is_not_negative(merged):
    with pytest.raises(BadParameter, match="t: -1 is outside"):
        merged("nearswap", ["X1"], base="B", t=-1)
