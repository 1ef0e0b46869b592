"""Sums of task vectors."""

from __future__ import annotations

import pytest

from consort.core.errors import BadParameter


def test_matrices(gives):
    gives([[2.5, -1.5], [2.5, 3.5]], "task_arithmetic", ["X1", "X2"], base="B", weight=0.5)
    gives([[4, -4], [4, 6]], "task_arithmetic", ["X1", "X2"], base="B", weight=0.5, lambda_=2)
    gives([[1.25, -1.75], [2.75, 4.75]], "task_arithmetic", ["X1", "X2"], base="B", weight=[1, 3], normalize=True)


def test_lambda_is_written_without_its_underscore_in_plans(gives):
    gives([[4, -4], [4, 6]], "task_arithmetic", ["X1", "X2"], base="B", weight=0.5, **{"lambda": 2})


def test_negative_weights_forget(gives):
    gives([[-3, 3], [0, 1]], "task_arithmetic", ["X1"], base="B", weight=-1)


def test_a_base_is_needed(merged):
    with pytest.raises(BadParameter, match="base: task_arithmetic needs a base"):
        merged("task_arithmetic", ["X1"])
