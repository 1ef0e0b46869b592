"""Intervals of a score: by its known range where it has one, else the percentile bootstrap (Efron 1979).

Resamples of answers that are all right are all right too, so the bootstrap calls three right answers out of three
certain. Scores in a known range therefore get Wilson's interval (1927), and differences of two systems the adjusted
one of Agresti and Min (2005); for scores of 0 and 1 these are the published formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from consort.evaluate.registry import UNIT, Aggregate, ratio

RESAMPLES = 10_000
LEVEL = 0.95
BLOCK = 1_000_000
Z = 1.959963984540054
"""The normal quantile that belongs to LEVEL."""
Span = tuple[float, float]


def replicates(
    statistics: np.ndarray, aggregate: Aggregate, *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Scores (resamples,) of random sets of n examples drawn with replacement from rows (n, k).

    Equal n and seed draw equal sets, so the replicates of two systems on the same examples are paired.
    """
    return replicates_of([(statistics, aggregate)], resamples=resamples, seed=seed)[0]


def replicates_of(
    tables: Sequence[tuple[np.ndarray, Aggregate]], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[np.ndarray]:
    """The replicates of several systems' rows on the same examples, whose sets are drawn once for all."""
    rng = np.random.default_rng(seed)
    n = len(tables[0][0])
    step = max(1, BLOCK // n)
    found: list[list[np.ndarray]] = [[] for _ in tables]
    for start in range(0, resamples, step):
        rows = rng.integers(0, n, (min(step, resamples - start), n))
        for (statistics, aggregate), parts in zip(tables, found, strict=True):
            parts.append(aggregate(_sums(statistics, rows)))
    return [np.concatenate(parts) for parts in found]


def _sums(statistics: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sums (draws, k) over the drawn rows; column by column, which is many times faster than rows at once."""
    draws, n = rows.shape
    columns = (np.full(draws, float(n)) if (c == 1).all() else c.take(rows).sum(1) for c in statistics.T)
    return np.stack(list(columns), axis=1)


def interval(scores: np.ndarray, *, level: float = LEVEL) -> tuple[float, float]:
    """The central `level` of the replicates, by linear interpolation between order statistics; NaN are left out."""
    low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval_of(
    statistics: np.ndarray, aggregate: Aggregate, *, span: Span | None = None, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a score, `span` being the range of scores where it is known.

    Without a range it is the percentile bootstrap, a point where all examples have the same statistics. Scores of which
    each is 0 or 1 have the range [0, 1].
    """
    statistics = statistics[are_known(statistics)]
    if not len(statistics):
        return math.nan, math.nan
    score, n = float(aggregate(statistics.sum(0))), len(statistics)
    if span is None and aggregate is ratio and _are_binary(statistics):
        span = UNIT
    if span is None:
        if (statistics == statistics[0]).all():
            score = float(aggregate(statistics[0]))
            return score, score
        return interval(replicates(statistics, aggregate, seed=seed))
    low, high = span
    if _are_means(statistics, aggregate):
        variance = float(statistics[:, 0].var())
    else:
        variance = n * float(replicates(statistics, aggregate, seed=seed).var())
    bounds = wilson((score - low) / (high - low), variance / (high - low) ** 2, n)
    return low + (high - low) * bounds[0], low + (high - low) * bounds[1]


def wilson(p: float, variance: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a mean p of n scores in [0, 1] whose variance is given.

    Scores between 0 and 1 vary less than p (1 - p): n is divided by the ratio of the two variances, both taken with
    z^2 / 2 more scores at each end. Of scores of 0 and 1 the ratio is 1, and it is Wilson's formula.

    >>> [round(bound, 3) for bound in wilson(1.0, 0.0, 3)]
    [0.438, 1.0]
    """
    more = Z * Z
    middle = (n * p + more / 2) / (n + more)
    spread = (n * (variance + (p - middle) ** 2) + more / 2 * (middle**2 + (1 - middle) ** 2)) / (n + more)
    effective = n * middle * (1 - middle) / spread
    centre = (p + more / (2 * effective)) / (1 + more / effective)
    half = Z / (1 + more / effective) * math.sqrt(max(p * (1 - p), 0.0) / effective + more / (4 * effective**2))
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def difference_interval(
    ours: np.ndarray,
    theirs: np.ndarray,
    aggregate: Aggregate,
    drawn: np.ndarray,
    span: Span | None,
    *,
    level: float = LEVEL,
) -> tuple[float, float]:
    """The central interval of a paired difference; `drawn` are bootstrap replicates of it, used without a range.

    Means in a range: a Wald interval with two more examples of difference 0 and half of one at each end (Agresti and
    Min 2005, section 3), bounded by what is possible.
    """
    known = are_known(ours) & are_known(theirs)
    ours, theirs = ours[known], theirs[known]
    span = range_of_means(ours, theirs, aggregate, span)
    if span is None:
        return interval(drawn, level=level)
    width = span[1] - span[0]
    gained = (ours[:, 0] - theirs[:, 0]) / width
    n = len(gained) + 2
    centre = float(gained.sum()) / n
    z = Z if level == LEVEL else NormalDist().inv_cdf((1 + level) / 2)
    half = z * math.sqrt(max(0.0, (float((gained**2).sum()) + 1) / n - centre**2) / n)
    return width * max(-1.0, centre - half), width * min(1.0, centre + half)


def range_of_means(ours: np.ndarray, theirs: np.ndarray, aggregate: Aggregate, span: Span | None) -> Span | None:
    """The range of two systems' scores where it is known and the scores are means; then nothing need be drawn."""
    if span is None and aggregate is ratio and _are_binary(ours) and _are_binary(theirs):
        span = UNIT
    return span if _are_means(ours, aggregate) and _are_means(theirs, aggregate) else None


def are_known(statistics: np.ndarray) -> np.ndarray:
    """Which rows tell something: rows of nothing are (0, 0)."""
    if statistics.shape[1] != 2:
        return np.ones(len(statistics), bool)
    return np.asarray(statistics.any(axis=1))


def _are_binary(statistics: np.ndarray) -> bool:
    return statistics.shape[1] == 2 and bool(
        np.isin(statistics[:, 0], (0.0, 1.0)).all() and (statistics[:, 1] == 1).all()
    )


def _are_means(statistics: np.ndarray, aggregate: Aggregate) -> bool:
    return aggregate is ratio and statistics.shape[1] == 2 and bool((statistics[:, 1] == 1).all())
