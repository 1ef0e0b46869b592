"""How routers are judged: what quality is had for what cost, over all thresholds at once.

RouteLLM's measures between a strong and a weak model (2406.18665, section 3), the area under the convex quality-cost
hull (RouterBench, 2403.12031), and saving at no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData

Points = Literal["exact", "deciles"]
Vector = Float[np.ndarray, " n"]


def recovered(scores: Vector, strong: Vector, weak: Vector) -> Float[np.ndarray, " n+1"]:
    """PGR with the top i queries by score sent to the strong model, i = 0..n: (r - weak) / (strong - weak).

    Queries of equal score go to the strong model in equal parts, so their order plays no part. Raises BadData where the
    strong model is not better.
    """
    gap = float(strong.mean() - weak.mean())
    if gap <= 0:
        raise BadData("the strong model is not better than the weak one", field="quality", hint="swap the two models")
    gain = strong - weak
    _, index, count = np.unique(-scores, return_inverse=True, return_counts=True)
    tied = np.bincount(index, weights=gain, minlength=len(count)) / count
    return np.concatenate([[0.0], np.repeat(tied, count).cumsum()]) / (len(scores) * gap)


def pgr(scores: Vector, strong: Vector, weak: Vector, share: float) -> float:
    """The performance gap recovered when this share of queries, those of largest score, goes to the strong model."""
    curve = recovered(scores, strong, weak)
    return float(np.interp(share * len(scores), np.arange(len(curve)), curve))


def apgr(scores: Vector, strong: Vector, weak: Vector, *, points: Points = "exact") -> float:
    """The mean of PGR over all shares: 0.5 for a random order.

    "exact" integrates over all n + 1 points, "deciles" over the shares 0, 0.1, … 1 as published figures do; both by the
    trapezoid rule.
    """
    curve = recovered(scores, strong, weak)
    if points == "deciles":
        curve = curve[np.round(np.linspace(0, len(scores), 11)).astype(int)]
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def cpt(scores: Vector, strong: Vector, weak: Vector, level: float) -> float:
    """CPT(level): the smallest share of strong calls at which PGR reaches `level` (in [0, 1]) for the first time."""
    curve = recovered(scores, strong, weak)
    reached = curve >= level - 1e-12
    return float(reached.argmax() / len(scores)) if reached.any() else 1.0


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, quality) points that no other equals or beats in both, by rising cost."""
    kept: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda p: (p[0], -p[1])):
        if not kept or quality > kept[-1][1]:
            kept.append((cost, quality))
    return kept


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The non-decreasing upper convex hull: what random mixtures of the points can reach."""
    found: list[tuple[float, float]] = []
    for point in pareto(points):
        while len(found) > 1 and _bends_up(found[-2], found[-1], point):
            found.pop()
        found.append(point)
    return found


def _bends_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b is on or below the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def aiq(points: Sequence[tuple[float, float]], low: float | None = None, high: float | None = None) -> float:
    """Average improvement in quality: the area under the hull from cost `low` to `high`, by that range.

    The bounds are by default the least and the largest cost given; beyond the hull its last quality holds, and before
    its first point there is none.
    """
    if not points:
        raise BadData("there are no points", field="points", hint="give (cost, quality) pairs")
    costs = [cost for cost, _ in points]
    low, high = min(costs) if low is None else low, max(costs) if high is None else high
    edge = hull(points)
    if high <= low:
        return float(max((quality for cost, quality in edge if cost <= low), default=0.0))
    inner = [c for c, _ in edge if low < c < high]
    at = np.array([low, *inner, high])
    heights = np.interp(at, [c for c, _ in edge], [q for _, q in edge], left=0.0)
    return float(np.trapezoid(heights, at) / (high - low))


def saving(points: Sequence[tuple[float, float]], cost: float, quality: float) -> float:
    """1 - the least cost at no lower quality by the cost of the single model; negative where it is dearer.

    Raises BadData where no point has that quality.
    """
    enough = [c for c, q in points if q >= quality - 1e-12]
    if not enough or cost <= 0:
        raise BadData("no point is as good as the single model", field="points", hint="add points of higher quality")
    return 1 - min(enough) / cost
