"""From points to outcomes: the models that they stand for, asked about an objective's examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from consort.core.errors import (
    BadCheckpoint,
    BadData,
    ConsortError,
    EnvironmentFailure,
    Incompatible,
    MissingExtra,
    Unsupported,
)
from consort.search.engine.racing import Race
from consort.search.engine.scores import Outcome
from consort.search.engine.space import Evaluated
from consort.search.packed.lora import PackedLora
from consort.search.utilities.objective import Objective

Limits = tuple[float, float]
NOT_THE_POINT = (BadData, EnvironmentFailure, MissingExtra, Unsupported)
"""Errors that would meet every point: they end the search."""


@dataclass(frozen=True, slots=True)
class Job:
    """Points that are evaluated together, always in this composition, whoever does it. `order` is that of examples."""

    points: tuple[tuple[float, ...], ...]
    limits: tuple[Limits, ...] | None = None
    order: tuple[int, ...] = ()


class Evaluator:
    """Scores points of a space by an objective; depends on nothing but the job."""

    def __init__(self, space: Evaluated, objective: Objective) -> None:
        self.space, self.objective = space, objective

    @property
    def pack(self) -> int:
        """How many points one job may have."""
        return int(getattr(self.space, "pack", 1)) if self._generates else 1

    @property
    def _generates(self) -> bool:
        """Whether examples are asked by generating, which is what rows of several particles can do."""
        return bool(getattr(self.objective, "generates", True))

    def __call__(self, job: Job) -> list[Outcome]:
        packed = self.space.packed(job.points) if hasattr(self.space, "packed") and self._generates else None
        if packed is not None and len(job.points) > 1:
            try:
                return self._together(packed, job)
            except (BadCheckpoint, Incompatible):
                pass  # one of them is at fault; each by itself shows which
        return [self._alone(job, i) for i in range(len(job.points))]

    def _races(self, job: Job) -> list[Race]:
        order = job.order or tuple(range(self.objective.size))
        limits: Sequence[Limits | None] = job.limits or [None] * len(job.points)
        return [Race(self.objective, order, limit if self.objective.span else None) for limit in limits]

    def _alone(self, job: Job, i: int) -> Outcome:
        race = self._races(job)[i]
        try:
            model = self.space.model(job.points[i])
            self.objective.require(model)
            while due := race.due():
                race.learn(due, self.objective.rows(model, due))
        except NOT_THE_POINT:
            raise
        except ConsortError as fault:
            return Outcome(-inf, -inf, -inf, "." * self.objective.size, str(fault))
        return race.outcome()

    def _together(self, packed: PackedLora, job: Job) -> list[Outcome]:
        """All points in one batch, portion after portion; those that are decided leave it."""
        races = self._races(job)
        while any(dues := [race.due() for race in races]):
            owners = [i for i, due in enumerate(dues) for _ in due]
            rows = iter(self.objective.rows(packed.rows(owners), [example for due in dues for example in due]))
            for race, due in zip(races, dues, strict=True):
                race.learn(due, [next(rows) for _ in due])
        return [race.outcome() for race in races]


def of_function(function: Callable[[Any], float]) -> Callable[[Job], list[Outcome]]:
    """An evaluator of a plain function of a point, for tests and for objectives that have no examples."""

    def evaluate(job: Job) -> list[Outcome]:
        scores = [float(function(point)) for point in job.points]
        return [Outcome(score, score, score, "1") for score in scores]

    return evaluate
