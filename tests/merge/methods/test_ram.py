"""Own entries taken over, shared ones averaged."""

from __future__ import annotations


def test_matrices(gives):
    gives([[2.5, -1.5], [2.5, 6]], "ram", ["X1", "X2"], base="B")
    gives([[2.5, -1.5], [2.5, 6.1]], "ramplus_tl", ["X1", "X2"], base="B")


def test_small_changes_are_none(gives):
    gives([[5, 1], [1, 6]], "ram", ["X1", "X2"], base="B", epsilon=3)


def test_a_model_without_own_entries_is_not_enlarged(gives):
    gives([4, 2], "ramplus_tl", [[4.0, 2], [4.0, 2]], base=[0.0, 0])
    gives([4, 2.04, 0], "ramplus_tl", [[4.0, 2, 0], [4.0, 0, 0]], base=[0.0, 0, 0], r=0.1, alpha=0.2)
