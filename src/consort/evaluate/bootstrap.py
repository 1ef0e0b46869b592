"""The percentile bootstrap (Efron 1979) over examples, for any score that is a function of summed statistics."""

from __future__ import annotations

import numpy as np

from consort.evaluate.registry import Aggregate

RESAMPLES = 10_000
LEVEL = 0.95
BLOCK = 1_000_000


def replicates(
    statistics: np.ndarray, aggregate: Aggregate, *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Scores (resamples,) of random sets of n examples drawn with replacement from rows (n, k).

    Equal n and seed draw equal sets, so the replicates of two systems on the same examples are paired.
    """
    rng = np.random.default_rng(seed)
    n = len(statistics)
    step = max(1, BLOCK // n)
    starts = range(0, resamples, step)
    parts = (rng.integers(0, n, (min(step, resamples - start), n)) for start in starts)
    return np.concatenate([aggregate(_sums(statistics, rows)) for rows in parts])


def _sums(statistics: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sums (draws, k) over the drawn rows; column by column, which is many times faster than rows at once."""
    return np.stack([column[rows].sum(1) for column in statistics.T], axis=1)


def interval(scores: np.ndarray, *, level: float = LEVEL) -> tuple[float, float]:
    """The central `level` of the replicates, by linear interpolation between order statistics; NaN are left out."""
    low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval_of(statistics: np.ndarray, aggregate: Aggregate, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a score; a point where all examples have the same statistics."""
    if (statistics == statistics[0]).all():
        score = float(aggregate(statistics[0]))
        return score, score
    return interval(replicates(statistics, aggregate, seed=seed))
