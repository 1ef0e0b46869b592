"""Thresholds of a cascade that are best for a budget (FrugalGPT, 2305.05176, section 3): an exact sweep for each level.

Level i accepts an answer of score s_i if s_i >= t_i; the last level always does. Rows are examples, columns the models
of the chain; cost is what asking a model costs, so a row that reaches level i has paid for levels 0 to i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from jaxtyping import Float, Int

from consort.core.errors import BadParameter

GRID = 40
TRIALS = 2000
"""Settings of the outer levels that are tried at most; the inner two levels are swept exactly for each."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A chain of models (columns), its thresholds (one fewer), and what that gives on the examples it was chosen on."""

    chain: tuple[int, ...]
    thresholds: tuple[float, ...]
    quality: float
    cost: float


def answered_by(scores: Float[np.ndarray, "row level"], thresholds: Sequence[float]) -> Int[np.ndarray, " row"]:
    """The level that answers each row; `scores` of the last level are not read."""
    accepted = np.ones(scores.shape, dtype=bool)
    accepted[:, :-1] = scores[:, :-1] >= np.asarray(thresholds, dtype=float)
    return np.asarray(accepted.argmax(1))


def outcome(
    scores: Float[np.ndarray, "row level"],
    quality: Float[np.ndarray, "row level"],
    cost: Float[np.ndarray, "row level"],
    thresholds: Sequence[float],
) -> tuple[float, float]:
    """Mean quality and mean cost of a cascade with these thresholds."""
    level, rows = answered_by(scores, thresholds), np.arange(len(scores))
    return float(quality[rows, level].mean()), float(cost.cumsum(1)[rows, level].mean())


def sweep(
    score: Float[np.ndarray, " row"],
    accept: tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]],
    escalate: tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]],
    budget: float,
) -> tuple[float, float, float]:
    """The best threshold of one level, exactly, in O(n log n): (threshold, summed quality, summed cost).

    `accept` and `escalate` are quality and cost of each row in either case, `budget` bounds the summed cost. Of equal
    qualities the cheaper, then the higher threshold. Quality is -inf where no threshold keeps to the budget.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1) if len(score) else np.array([], dtype=int)
    gained = np.cumsum((accept[0] - escalate[0])[order])[ends]
    saved = np.cumsum((accept[1] - escalate[1])[order])[ends]
    quality = np.concatenate([[0.0], gained]) + escalate[0].sum()
    cost = np.concatenate([[0.0], saved]) + escalate[1].sum()
    values = np.concatenate([[np.inf], between(score[order][ends])])
    quality = np.where(cost <= budget + 1e-9 * max(1.0, abs(budget)), quality, -np.inf)
    best = int(np.lexsort((np.arange(len(values)), cost, -np.round(quality, 9)))[0])
    return float(values[best]), float(quality[best]), float(cost[best])


def between(values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " value"]:
    """Thresholds midway from each falling score to the next, where new scores have most room; the last stays.

    The middle of two neighbouring floats may be the lower one, which must not be accepted.
    """
    if not len(values):
        return values
    middle = (values[:-1] + values[1:]) / 2
    return np.append(np.where(middle > values[1:], middle, values[:-1]), values[-1])


def best_thresholds(
    scores: Float[np.ndarray, "row level"],
    quality: Float[np.ndarray, "row level"],
    cost: Float[np.ndarray, "row level"],
    budget: float = np.inf,
    *,
    grid: int = GRID,
) -> Chosen | None:
    """The thresholds of most quality whose mean cost is within `budget`; None where there are none.

    The last threshold is swept exactly for every setting of the others, which come from a grid of `grid` quantiles of
    their level's own scores (all values where there are no more than that), fewer where levels are many; then each in
    turn is swept exactly while the others stay. With two levels, or few examples, the result is the optimum.
    """
    n, levels = scores.shape
    chain = tuple(range(levels))
    if levels == 1:
        mean = float(cost[:, 0].mean())
        return Chosen(chain, (), float(quality[:, 0].mean()), mean) if mean <= budget else None
    outer = levels - 2
    points = max(2, min(grid, int(TRIALS ** (1 / outer)))) if outer else 0
    best: tuple[float, float, tuple[float, ...]] | None = None
    for setting in product(*(_grid(scores[:, i], points) for i in range(outer))):
        found = _swept(scores, quality, cost, [*setting, np.inf], levels - 2, budget * n)
        best = _better(best, found)
    if best is None:
        return None
    best = _polished(scores, quality, cost, best, budget * n)
    return Chosen(chain, best[2], -best[0] / n, best[1] / n)


def best_chain(
    scores: Float[np.ndarray, "row model"],
    quality: Float[np.ndarray, "row model"],
    cost: Float[np.ndarray, "row model"],
    budget: float = np.inf,
    *,
    length: int = 3,
) -> Chosen:
    """The best chain of up to `length` models in any order, with its thresholds.

    Of equal qualities the cheaper, then the shorter. Raises BadParameter where even the cheapest model is dearer than
    the budget.
    """
    best: Chosen | None = None
    for size in range(1, min(length, quality.shape[1]) + 1):
        for chain in permutations(range(quality.shape[1]), size):
            part = list(chain)
            found = best_thresholds(scores[:, part], quality[:, part], cost[:, part], budget)
            if found and (
                best is None or (-round(found.quality, 9), found.cost) < (-round(best.quality, 9), best.cost)
            ):
                best = Chosen(chain, found.thresholds, found.quality, found.cost)
    if best is None:
        cheapest = float(cost.mean(0).min())
        raise BadParameter(f"no model costs as little as {budget:g}", field="budget", hint=f"at least {cheapest:g}")
    return best


def _grid(values: Float[np.ndarray, " row"], points: int) -> list[float]:
    known = np.unique(values)
    if len(known) > points:
        known = np.unique(np.quantile(values, np.linspace(0, 1, points), method="nearest"))
    return [*map(float, known), float("inf")]


def _swept(
    scores: np.ndarray, quality: np.ndarray, cost: np.ndarray, thresholds: list[float], level: int, budget: float
) -> tuple[float, float, tuple[float, ...]] | None:
    """The setting with the threshold of one level swept; rows that an earlier level takes are charged, not swept."""
    rows = np.arange(len(scores))
    paid = cost.cumsum(1)
    before = (scores[:, :level] < np.asarray(thresholds[:level], dtype=float)).all(1)
    later = np.ones((len(scores), scores.shape[1] - level - 1), dtype=bool)
    later[:, :-1] = scores[:, level + 1 : -1] >= np.asarray(thresholds[level + 1 :], dtype=float)
    onward = level + 1 + later.argmax(1)
    early = np.ones((len(scores), level + 1), dtype=bool)
    early[:, :level] = scores[:, :level] >= np.asarray(thresholds[:level], dtype=float)
    taken = early.argmax(1)
    fixed_quality = float(quality[rows, taken][~before].sum())
    fixed_cost = float(paid[rows, taken][~before].sum())
    value, got, spent = sweep(
        scores[before, level],
        (quality[before, level], paid[before, level]),
        (quality[rows, onward][before], paid[rows, onward][before]),
        budget - fixed_cost,
    )
    if got == -np.inf:
        return None
    return -(got + fixed_quality), spent + fixed_cost, (*thresholds[:level], value, *thresholds[level + 1 :])


Setting = tuple[float, float, tuple[float, ...]]


def _better(a: Setting | None, b: Setting | None) -> Setting | None:
    if a is None or b is None:
        return a or b
    return b if (round(b[0], 9), round(b[1], 9)) < (round(a[0], 9), round(a[1], 9)) else a


def _polished(scores: np.ndarray, quality: np.ndarray, cost: np.ndarray, best: Setting, budget: float) -> Setting:
    while True:
        before = best
        for level in range(scores.shape[1] - 1):
            best = _better(best, _swept(scores, quality, cost, list(best[2]), level, budget)) or best
        if best == before:
            return best
