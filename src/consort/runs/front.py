"""The front of a run: what nothing cheaper equals, each point a plan that any verb takes, measured on test once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.files import machine_errors, write_atomic
from consort.evaluate import Result
from consort.plan.expression import beside, parse
from consort.runs.folder import PLANS, plan_text
from consort.runs.trials import Trials


@dataclass(frozen=True, slots=True)
class Point:
    """A system of the front. `file` is the name of its plan, without a suffix; `expression` is what the plan says.

    `fit` is its score on the examples that decide who is on the front, `price` and `seconds` what an answer cost and
    took there; `on_front` is False of a winner that something cheaper equals. `held_out` and `test` are None where they
    were not measured.
    """

    name: str
    file: str
    kind: str
    expression: Any
    fit: float
    price: float | None
    seconds: float | None
    is_winner: bool = False
    on_front: bool = True
    held_out: Result | None = None
    test: Result | None = None

    @property
    def plan(self) -> str:
        """Where its plan is in the run's folder."""
        return f"{PLANS}/{self.file}.yml"

    def to_json(self, tariff: Any) -> dict[str, Any]:
        """As results.json has it; `test_cost` and `seconds` are of the test examples where it met them."""
        test = self.test
        return {
            "name": self.name,
            "kind": self.kind,
            "plan": self.plan,
            "winner": self.is_winner,
            "on_front": self.on_front,
            "fit": self.fit,
            "held_out": None if self.held_out is None else self.held_out.score,
            "test": None if test is None else test.score,
            "interval": None if test is None else test.interval,
            "cost": self.price,
            "test_cost": None if test is None else tariff.price(test),
            "seconds": self.seconds if test is None else test.seconds_per_example,
        }


def measured(
    points: Sequence[Point], known: Mapping[str, Result], trials: Trials
) -> tuple[tuple[Point, ...], tuple[str, ...]]:
    """The points with what they do on test, and what there is to say of those that were not measured.

    `known` are results on test by the name of a plan. A point that cannot be run is left out.
    """
    found, notes, late = [], [], []
    for point in points:
        result = known.get(point.file)
        if result is None and not trials.hours.left_s > 0 and not trials.knows(point.expression, "test"):
            late.append(point.name)
        elif result is None:
            try:
                result = trials.result(point.name, point.expression, "test")
            except EnvironmentFailure:
                raise
            except ConsortError as fault:
                notes.append(f"{point.name} was left out of the front: {fault}")
                continue
        found.append(replace(point, test=result))
    if late:
        notes.append(f"not tried: hours: {', '.join(late)} on test")
    return tuple(found), tuple(notes)


def write_plans(points: Sequence[Point], folder: Path, seed: int) -> None:
    """Write each point's plan, which finds what it learned beside its own folder, so that the run can be moved."""
    with machine_errors(folder / PLANS):
        (folder / PLANS).mkdir(exist_ok=True)
        for old in set((folder / PLANS).glob("*.yml")) - {folder / point.plan for point in points}:
            old.unlink()
    for point in points:
        write_atomic(folder / point.plan, plan_text(beside(Path(".."), parse(point.expression)), seed))
