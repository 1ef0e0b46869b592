"""What a utility is, and what it is on given examples: an objective, known example by example so that one may stop.

An objective gives every example a row of numbers and combines the rows to a score. Where rows are (value, 1) with
values in a known range, bounds on the score follow from some of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from consort.core.errors import Unsupported
from consort.data.task import Task

Row = tuple[float, ...]
FLOOR = 0.01
"""What two scores of zero count as in a harmonic mean (Model Swarms, released code)."""


class Objective(Protocol):
    """A utility on given examples. `key` names all that scores depend on; `size` counts examples.

    `span` is the range of an example's value; None where no such range is known: then nothing can be said of a score
    before all examples are seen. One with `generates = False` asks models for something else than answers; `combine` is
    "harmonic" where the score is no mean.
    """

    @property
    def key(self) -> str:
        """Names all that scores depend on."""

    @property
    def size(self) -> int:
        """The number of examples."""

    @property
    def span(self) -> tuple[float, float] | None:
        """The range of an example's value, None where it is not known."""

    def rows(self, model: Any, which: Sequence[int]) -> list[Row]:
        """The rows of these examples, in their order; an example may come several times (`packed.Owned`)."""

    def score(self, rows: Sequence[Row]) -> float:
        """The score of rows of all examples, in order; larger is better."""

    def require(self, model: Any) -> None:
        """Raise Unsupported if `model` lacks an ability that is needed."""


class Utility(Protocol):
    """What is wanted of a model, whatever the examples; a registered class (`utilities`)."""

    def on(self, task: Task, *, split: str = "dev", limit: int | None = None, seed: int = 0) -> Objective:
        """The objective on the first `limit` examples of a split. Raises ConsortError where it cannot be."""


def bounds(objective: Objective, known: Mapping[int, Row]) -> tuple[float, float]:
    """The least and the largest score that are possible once the rows of some examples are known."""
    if objective.span is None:
        return -math.inf, math.inf
    low, high = ((end, 1.0) for end in objective.span)
    least = objective.score([known.get(i, low) for i in range(objective.size)])
    most = objective.score([known.get(i, high) for i in range(objective.size)])
    if (
        getattr(objective, "combine", "") == "harmonic"
    ):  # not monotone at 0: .01 where all scores are 0, 0 where some are
        return min(least, 0.0), max(most, FLOOR)
    return least, most


def harmonic(scores: Sequence[float]) -> float:
    """Harmonic mean, 2ab / (a + b) of two; 0 if one of several is 0, and .01 if all are (as in the released code)."""
    if not any(scores):
        return FLOOR
    return 0.0 if not all(scores) else len(scores) / math.fsum(1 / s for s in scores)


def refuse_unasked(model: Any, ability: str) -> None:
    """Raise Unsupported unless `model` has the ability (a method's name)."""
    if not hasattr(model, ability):
        raise Unsupported(f"cannot {ability}", field=getattr(model, "name", str(model)), hint="use a local model")
