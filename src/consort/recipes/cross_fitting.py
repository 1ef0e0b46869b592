"""Routers, cascades and votes that learn from answers which are known already, so that no model is asked again.

They are judged by cross-fitting: each fifth of the examples is replayed by a strategy that learned from the others.
What a strategy learned from all of them in the end lies beside the plan.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from consort.core.errors import ConsortError, Unsupported
from consort.core.files import machine_errors
from consort.core.types import Completion, Example, Prompt, Sampling
from consort.ensemble.fitting import save_learned
from consort.ensemble.observed import Observed, from_results
from consort.evaluate import Result
from consort.evaluate.registry import find_metric
from consort.evaluate.result import aggregate_of
from consort.plan.names import find

FOLDS = 5
LEARNERS = ("knn", "ridge", "frugal_gpt", "vote")
MOST_MEMBERS = 8
STATES = "states"


@dataclass(frozen=True, slots=True)
class Player:
    """A system that can be a member: its expression, what it did on the fit examples, and the price of an answer.

    `price` is tokens read and written times parameters, a mean over the examples; None where that is not known.
    """

    expression: Any
    result: Result
    price: float | None


@dataclass(frozen=True, slots=True)
class Joint:
    """A system of several players: what it does on the fit examples, by trial (None: not yet run) or cross-fitted."""

    name: str
    expression: dict[str, Any]
    result: Result | None
    price: float | None
    learned: Any = None

    @property
    def score(self) -> float | None:
        """On the fit examples, larger is better."""
        return None if self.result is None else self.result.score


class Known:
    """The name of a model whose answers are known; it is never asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        raise Unsupported("its answers are known and it is not asked", field=self.name)


def learners(
    players: Sequence[Player], examples: Sequence[Example], seed: int, names: Sequence[str] = LEARNERS
) -> list[Joint]:
    """The strategies called `names` of the best players, cross-fitted; those that cannot be fitted are left out.

    The file of each one's state, which its expression names, is not written yet (`keep`).
    """
    metric = players[0].result.metric
    if len(players) < 2 or (":" not in metric and find_metric(metric).needs != "generate"):
        return []
    ranked = sorted(players, key=lambda p: -p.result.score)[:MOST_MEMBERS]
    observed = observe(ranked, examples)
    found = []
    for name in names:
        try:
            found.append(_learner(name, ranked, observed, seed))
        except ConsortError:
            continue
    return found


def observe(players: Sequence[Player], examples: Sequence[Example]) -> Observed:
    """What the players did on the fit examples; the cost is their price where all prices are known."""
    observed = from_results([p.result for p in players], examples)
    prices = [p.price for p in players]
    cost = None if None in prices else np.tile(np.array(prices, dtype=float), (len(examples), 1))
    return replace(observed, cost=cost)


def keep(joint: Joint, folder: Path) -> None:
    """Write what `joint` learned to the file in the plan's folder that its expression names."""
    [arguments] = joint.expression.values()
    path = folder / arguments["state"]
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_learned(joint.learned, path)


def _learner(name: str, players: Sequence[Player], observed: Observed, seed: int) -> Joint:
    strategy = find(name)[0].get(name)([Known(p.result.model) for p in players])
    answered_by, cost = cross_fitted(strategy, observed, seed)
    learned = strategy.fit(observed, seed=seed).learned
    state = f"{STATES}/{name}{Path(learned.file_name).suffix}"
    arguments = {"models": [p.expression for p in players], "state": state}
    rows = tuple(players[m].result.statistics[i] for i, m in enumerate(answered_by))
    label = f"{name} of {len(players)} models"
    first = players[0].result
    score = float(aggregate_of(first.metric).aggregate(np.array(rows).sum(0)))
    result = replace(first, model=label, statistics=rows, score=score, interval=(score, score), answers=(), groups={})
    return Joint(label, {name: arguments}, result, cost, learned)


def cross_fitted(strategy: Any, observed: Observed, seed: int) -> tuple[Int[np.ndarray, " n"], float | None]:
    """Which model answers each query where the strategy learned from the other folds only; and the mean cost.

    Equal queries are in one fold. Raises Unsupported where there are too few different queries.
    """
    fold = np.array([zlib.crc32(query.encode()) % FOLDS for query in observed.queries])
    answered_by, cost = np.zeros(len(observed), dtype=int), np.full(len(observed), np.nan)
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if not len(inside) or not len(outside):
            raise Unsupported("there are too few examples to learn from", field=strategy.name)
        replay = strategy.fit(observed.rows(outside), seed=seed).replay(observed.rows(inside))
        answered_by[inside], cost[inside] = replay.answered_by, replay.cost
    if (answered_by < 0).any():
        raise Unsupported("its answers are nobody's alone", field=strategy.name)
    return answered_by, None if np.isnan(cost).any() else float(cost.mean())
