"""From comparisons of two answers to the best of many (PairRanker, 2306.02561, section 3.2).

A comparison is a number: how much better the first is, as a logit, so that compare(a, b) = -compare(b, a).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

Compare = Callable[[Sequence[tuple[int, int]]], Sequence[float]]
"""Logits that the first of each pair is better."""


def order_averaged(forward: Sequence[float], backward: Sequence[float]) -> list[float]:
    """Logits of (a, b) and of (b, a), averaged so that the place of a candidate does not matter."""
    return [(f - b) / 2 for f, b in zip(forward, backward, strict=True)]


def full_ranking(count: int, compare: Compare) -> list[int]:
    """Candidates by the sum of their logits against all others, the best first; of equals the earlier. O(n²)."""
    return [int(i) for i in np.argsort(-np.round(logit_matrix(count, compare).sum(1), 9), kind="stable")]


def logit_matrix(count: int, compare: Compare) -> Float[np.ndarray, "candidate candidate"]:
    """Every candidate against every other, antisymmetric; each pair is compared once."""
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    matrix = np.zeros((count, count))
    for (i, j), logit in zip(pairs, compare(pairs) if pairs else (), strict=True):
        matrix[i, j], matrix[j, i] = logit, -logit
    return matrix


def bubble_winner(count: int, compare: Compare) -> int:
    """The winner of one pass: each candidate in turn against the best so far. O(n), right if wins are transitive."""
    best = 0
    for challenger in range(1, count):
        if compare([(best, challenger)])[0] < 0:
            best = challenger
    return best
