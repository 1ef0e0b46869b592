"""How many systems were looked at, and by how much the search flattered the best of them.

The best of many scores too well on the examples that it was chosen by. Held-out examples are never searched on, so what
the best scores there is not flattered, and the difference says how much it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from consort.evaluate import Result
from consort.evaluate.bootstrap import interval_of
from consort.evaluate.result import aggregate_of
from consort.recipes.auto.stage import Proposal

Bounds = tuple[float, float]


def selection(
    looked_at: Sequence[Proposal],
    singles: Sequence[tuple[Result, Result]],
    best: Proposal | None,
    held_out: Result | None,
) -> dict[str, Any]:
    """What results.json tells of the choice; `singles` are the inputs on fit and on held-out.

    `optimism` is fit less held-out of the best combination, with its 95 % interval; `halves` the same of the inputs, a
    mean: nothing chose them, so it is what the two halves differ by.
    """
    found: dict[str, Any] = {"looked_at": len(looked_at), "best": None}
    if best is None or held_out is None:
        return found
    halves = [fit.score - held.score for fit, held in singles]
    return found | {
        "best": best.name,
        "fit": best.known.score,
        "held_out": held_out.score,
        "optimism": best.known.score - held_out.score,
        "interval": independent_difference(best.known, held_out),
        "halves": sum(halves) / len(halves),
    }


def independent_difference(ours: Result, theirs: Result) -> Bounds:
    """The 95 % interval of a difference of scores on different examples, from the intervals of both.

    Zou and Donner 2008: each bound is as far from the difference as the bounds of the two scores that make it.
    """
    (a, low_a, high_a), (b, low_b, high_b) = _bounds(ours), _bounds(theirs)
    return (a - b - math.hypot(a - low_a, high_b - b), a - b + math.hypot(high_a - a, b - low_b))


def _bounds(result: Result) -> tuple[float, float, float]:
    metric = aggregate_of(result.metric)
    low, high = interval_of(np.array(result.statistics), metric.aggregate, span=metric.span)
    return result.score, low, high
