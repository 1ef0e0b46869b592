"""What is asked of a winner: quality, or quality for what it costs; and limits of price and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal

from consort.core.errors import BadParameter, Unsupported
from consort.data import Task
from consort.evaluate import Decision, Result, gate
from consort.evaluate.registry import find_metric
from consort.runs.tariff import Tariff

Maximize = Literal["quality", "quality-per-cost"]
OBJECTIVES: tuple[Maximize, ...] = ("quality", "quality-per-cost")


@dataclass(frozen=True, slots=True)
class Aim:
    """`max_cost` bounds the price of an answer in the run's unit, `max_latency` its seconds on this machine.

    By "quality-per-cost" a system is worth its score over its price.
    """

    maximize: Maximize = "quality"
    max_cost: float | None = None
    max_latency: float | None = None

    def __post_init__(self) -> None:
        """Raise BadParameter for an objective or a limit that is none."""
        if self.maximize not in OBJECTIVES:
            what = f"{self.maximize!r} cannot be maximised"
            raise BadParameter(what, field="maximize", hint=f"one of {', '.join(OBJECTIVES)}")
        for name, limit in (("max-cost", self.max_cost), ("max-latency", self.max_latency)):
            if limit is not None and not 0 < limit < inf:
                raise BadParameter(f"{limit} is no limit", field=name, hint="give a number above 0")

    @property
    def has_limits(self) -> bool:
        return self.max_cost is not None or self.max_latency is not None

    @property
    def per_cost(self) -> bool:
        return self.maximize == "quality-per-cost"

    def check(self, task: Task) -> Aim:
        """Raise Unsupported for a task whose scores have no ratio to a price that says anything."""
        if not self.per_cost:
            return self
        metric = find_metric(task.metric, task.metric_options)
        if not metric.is_mean or metric.asks == "logprobs" or (metric.span or (0.0, 1.0))[0] < 0:
            raise _no_ratio(metric.name)
        return self

    def check_results(self, results: Sequence[Result], tariff: Tariff) -> None:
        """Raise Unsupported where scores are below 0, or answers cost nothing, and a ratio is asked for."""
        if not self.per_cost:
            return
        if any(row[0] < 0 for result in results for row in result.statistics):
            raise _no_ratio(results[0].metric)
        free = [result.model for result in results if tariff.price(result) == 0]
        if free:
            what = f"answers of {', '.join(free)} cost nothing, so no quality for their cost can be told"
            raise Unsupported(what, field="maximize", hint="give it a price above 0, or maximise quality")

    def allows(self, price: float | None, seconds: float | None) -> bool:
        """Whether a system of this price and time keeps the limits; what has to be known and is not does not."""
        if price is None and (self.per_cost or self.max_cost is not None):
            return False
        cheap = self.max_cost is None or price is None or price <= self.max_cost
        return cheap and (self.max_latency is None or (seconds is not None and seconds <= self.max_latency))

    def worth(self, score: float, price: float | None) -> float:
        """What systems are ranked by, larger is better."""
        return score / price if self.per_cost and price else score

    def decide(
        self, candidate: Result, fallback: Result, prices: tuple[float | None, float | None], *, seed: int = 0
    ) -> Decision:
        """The candidate against the fallback on the same examples; a tie goes to the fallback.

        By quality for cost, scores are what they are worth at the price of the fallback, whose own stays as it is.
        """
        ours, theirs = prices
        if not self.per_cost or not ours or not theirs:
            found = gate(candidate, fallback, seed=seed)
            return replace(found, kept=found.candidate_score > found.fallback_score)
        least = min(ours, theirs)  # so that what is compared stays in the range of scores
        found = gate(_scaled(candidate, least / ours), _scaled(fallback, least / theirs), seed=seed)
        up = theirs / least
        low, high = found.difference.interval
        difference = replace(found.difference, value=up * found.difference.value, interval=(up * low, up * high))
        scores = up * found.candidate_score, up * found.fallback_score
        return replace(
            found,
            kept=scores[0] > scores[1],
            candidate_score=scores[0],
            fallback_score=scores[1],
            difference=difference,
        )

    def to_json(self) -> dict[str, Any]:
        """As results.json has it."""
        return {"maximize": self.maximize, "max_cost": self.max_cost, "max_latency": self.max_latency}

    @property
    def told(self) -> dict[str, Any]:
        """What of it was asked for."""
        usual = Aim()
        return {name: value for name, value in self.to_json().items() if value != getattr(usual, name)}

    @property
    def words(self) -> str:
        """How the best single model is called that a winner is compared with."""
        within = " within the limits" if self.has_limits else ""
        return f"the best single model{within}" + (" by score for its cost" if self.per_cost else "")


def _no_ratio(metric: str) -> Unsupported:
    what = f"{metric} is not a mean of scores from 0 upwards, so it has no quality for its cost"
    return Unsupported(what, field="maximize", hint="maximise quality within --max-cost")


def _scaled(result: Result, factor: float) -> Result:
    """The result with every score times a factor."""
    rows = tuple((row[0] * factor, *row[1:]) for row in result.statistics)
    return replace(result, statistics=rows, score=result.score * factor)


def nothing_fits(aim: Aim, systems: Sequence[tuple[str, float | None, float | None]]) -> BadParameter:
    """The error where no system keeps the limits; `systems` are names, prices and seconds."""
    asked = {"--max-cost": aim.max_cost, "--max-latency": aim.max_latency}
    what = " and ".join(f"{name} {value:g}" for name, value in asked.items() if value is not None)
    told = []
    priced = [(price, name) for name, price, _ in systems if price is not None]
    timed = [(seconds, name) for name, _, seconds in systems if seconds is not None]
    if aim.max_cost is not None:
        told.append(
            f"the cheapest is {min(priced)[1]}: {min(priced)[0]:.4g}" if priced else "no cost is known: --price"
        )
    if aim.max_latency is not None and timed:
        told.append(f"the quickest is {min(timed)[1]}: {min(timed)[0]:.3g} s an answer")
    return BadParameter("no system keeps it", field=what, hint="; ".join(told))
