"""Routers, cascades and votes that learn from answers which are known already, so that no model is asked again.

They are judged by cross-fitting: each fifth of the examples is replayed by a strategy that learned from the others.
What a strategy learned from all of them in the end lies beside the plan.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from consort.core.errors import ConsortError, Unsupported
from consort.core.files import machine_errors
from consort.core.types import Completion, Example, Prompt, Sampling
from consort.ensemble.learning.fitting import save_learned
from consort.ensemble.learning.observations import Observed, from_results
from consort.evaluate import Result
from consort.evaluate.registry import find_metric
from consort.evaluate.result import aggregate_of
from consort.plan.names import find
from consort.runs.folder import STATES

FOLDS = 5
ROUTERS = ("knn", "ridge")
LEARNERS = (*ROUTERS, "frugal_gpt", "vote")
MOST_MEMBERS = 8


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
    """A system of several players: what it does on the fit examples, by trial (None: not yet run) or cross-fitted.

    `save` writes what it learned, if anything, to a file.
    """

    name: str
    expression: dict[str, Any]
    result: Result | None
    price: float | None
    save: Callable[[Path], None] | None = None

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
    players: Sequence[Player],
    examples: Sequence[Example],
    seed: int,
    names: Sequence[str] = LEARNERS,
    *,
    of: str = "models",
) -> list[Joint]:
    """The strategies called `names` of the best players, cross-fitted; those that cannot be fitted are left out.

    So are those that would always choose the same player. Where answers are judged by log-likelihoods there are routers
    only. The file of each one's state, which its expression names, is not written yet (`keep`); `of` is what the
    players are called.
    """
    need = needs_of(players[0].result.metric)
    if len(players) < 2 or need == "logprobs":
        return []
    ranked = sorted(players, key=lambda p: -p.result.score)[:MOST_MEMBERS]
    observed = observe(ranked, examples)
    found = []
    for name in names:
        if need == "score" and name not in ROUTERS:
            continue
        try:
            found.append(_learner(name, ranked, observed, seed, of))
        except ConsortError:
            continue
    return found


def needs_of(metric: str) -> str:
    """What a metric needs of a model: answers ("generate", "completion"), "score" or "logprobs"."""
    return "generate" if ":" in metric else find_metric(metric).asks


def observe(players: Sequence[Player], examples: Sequence[Example]) -> Observed:
    """What the players did on the fit examples; the cost is their price where all prices are known."""
    observed = from_results([p.result for p in players], examples)
    prices = [p.price for p in players]
    cost = None if None in prices else np.tile(np.array(prices, dtype=float), (len(examples), 1))
    return replace(observed, cost=cost)


def keep(joint: Joint, folder: Path) -> None:
    """Write what `joint` learned, if anything, to the file in the plan's folder that its expression names."""
    if joint.save is None:
        return
    [arguments] = joint.expression.values()
    path = folder / arguments["state"]
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    joint.save(path)


def _learner(name: str, players: Sequence[Player], observed: Observed, seed: int, of: str) -> Joint:
    strategy = _unfitted(name, players)
    answered_by, cost = cross_fitted(strategy, observed, seed)
    used, fitted = _of_those_in_use(name, players, strategy.fit(observed, seed=seed), observed, seed)
    if len(used) < 2:
        raise Unsupported(f"it would always choose {used[0].result.model}", field=name)
    state = f"{STATES}/{name}{Path(fitted.learned.file_name).suffix}"
    arguments = {"models": [p.expression for p in used], "state": state}
    label = f"{name} of {len(used)} {of}"
    result = replayed(label, players, answered_by)
    return Joint(label, {name: arguments}, result, cost, partial(save_learned, fitted.learned))


def _unfitted(name: str, players: Sequence[Player]) -> Any:
    return find(name)[0].get(name)([Known(p.result.model) for p in players])


def _of_those_in_use(
    name: str, players: Sequence[Player], fitted: Any, observed: Observed, seed: int
) -> tuple[Sequence[Player], Any]:
    """The players that the fitted strategy can ask, and the strategy over them alone if it then does the same."""
    used = fitted.in_use
    if len(used) == len(players):
        return players, fitted
    part = observed.columns(used)
    smaller = _unfitted(name, [players[m] for m in used]).fit(part, seed=seed)
    same = [used[m] for m in smaller.replay(part).answered_by] == list(fitted.replay(observed).answered_by)
    return ([players[m] for m in used], smaller) if same else (players, fitted)


def replayed(label: str, players: Sequence[Player], answered_by: Sequence[int]) -> Result:
    """The result of having each example answered by the player of that number."""
    first = players[0].result
    rows = tuple(players[m].result.statistics[i] for i, m in enumerate(answered_by))
    score = float(aggregate_of(first.metric).aggregate(np.array(rows).sum(0)))
    return replace(first, model=label, statistics=rows, score=score, interval=(score, score), answers=(), groups={})


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
