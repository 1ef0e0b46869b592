"""Bounds that hold for any distribution: failures among what is let through, and ranks of held-out scores.

Clopper and Pearson's bound for a share; a list of thresholds tested from strict to lenient, in an order fixed
beforehand, needs no correction for their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from jaxtyping import Bool, Float


def upper_bound(failures: int, count: int, delta: float) -> float:
    """The share that the true one exceeds with probability delta at most (Clopper and Pearson); 1 of none.

    >>> round(upper_bound(3, 100, 0.05), 6), round(upper_bound(0, 59, 0.05), 6), round(upper_bound(2, 60, 0.05), 6)
    (0.075711, 0.049508, 0.101236)
    """
    if failures >= count:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(failures + 1, count - failures, 1 - delta))


def rank(count: int, alpha: float) -> int:
    """ceil((n + 1)(1 - alpha)): that smallest of n scores is exceeded by a new one with probability alpha at most.

    Above n no score of them is enough.

    >>> rank(19, 0.1)
    18
    """
    return ceil(round((count + 1) * (1 - alpha), 9))


def last_that_holds(
    scores: Float[np.ndarray, " n"],
    failed: Bool[np.ndarray, " n"],
    thresholds: Sequence[float],
    alpha: float,
    delta: float,
) -> tuple[float | None, list[tuple[float, int, int, float]]]:
    """The last threshold, going on from strict to lenient while the bound is at most alpha; None where not even one is.

    What is let through has a score of at least the threshold. Also each threshold tested, with how many were let
    through, how many of them failed, and the bound. The thresholds must not depend on `failed`.
    """
    found, told = None, []
    for threshold in thresholds:
        through = scores >= threshold
        count, wrong = int(through.sum()), int((through & failed).sum())
        told.append((float(threshold), count, wrong, upper_bound(wrong, count, delta)))
        if told[-1][-1] > alpha:
            break
        found = float(threshold)
    return found, told


def refusing_failures(scores: Float[np.ndarray, " n"], failed: Bool[np.ndarray, " n"], alpha: float) -> float | None:
    """The threshold at which a failure is let through with probability alpha at most: P(let through | failure).

    It says nothing of how many failures are among what is let through. None where there are too few failures.
    """
    wrong = np.sort(scores[failed])
    place = rank(len(wrong), alpha)
    return None if place > len(wrong) else float(np.nextafter(wrong[place - 1], np.inf))
