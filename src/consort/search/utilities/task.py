"""What a search maximises: a score of a model on examples, known example by example, so that one may stop early.

A utility gives every example a row of numbers and combines the rows to a score. Where rows are (value, 1) with values
in a known range, bounds on the score follow from some of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from consort.core.errors import BadParameter, Unsupported, did_you_mean
from consort.core.journal import key_of
from consort.core.types import Example
from consort.data.registry import METRICS
from consort.data.settings import Options
from consort.data.task import Task, key_of_examples
from consort.evaluate.measure import measure, require
from consort.evaluate.registry import Metric, find_metric

Row = tuple[float, ...]
BATCH = 256
FLOOR = 0.01
"""What two scores of zero count as in a harmonic mean (Model Swarms, released code)."""
COMBINATIONS = ("mean", "harmonic")


class Utility(Protocol):
    """`key` names all that scores depend on; `size` counts examples; `span` is the range of an example's value.

    `span` is None where no such range is known; then nothing can be said of a score before all examples are seen.
    """

    key: str
    size: int
    span: tuple[float, float] | None

    def rows(self, model: Any, which: Sequence[int]) -> list[Row]:
        """The rows of these examples, in their order; an example may come several times (`packed.Owned`)."""

    def score(self, rows: Sequence[Row]) -> float:
        """The score of rows of all examples, in order; larger is better."""

    def require(self, model: Any) -> None:
        """Raise Unsupported if `model` lacks an ability that is needed."""


@dataclass(frozen=True, slots=True)
class Part:
    """Examples that are measured alike."""

    name: str
    examples: tuple[Example, ...]
    metric: Metric
    options: Options


@dataclass(frozen=True, slots=True)
class TaskUtility:
    """The score on one task or several: their mean over all examples, or the harmonic mean of the tasks' scores."""

    parts: tuple[Part, ...]
    combine: str = "mean"
    key: str = field(default="", init=False)
    size: int = field(default=0, init=False)
    span: tuple[float, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.combine not in COMBINATIONS:
            hint = did_you_mean(self.combine, COMBINATIONS)
            raise BadParameter(f"{self.combine!r} is no combination", field="combine", hint=hint)
        bounded = all(part.metric.unit for part in self.parts)
        if not bounded and len(self.parts) > 1:
            names = sorted({part.metric.name for part in self.parts if not part.metric.unit})
            units = [name for name, entry in METRICS.entries().items() if entry.options.get("unit")]
            hint = f"combine tasks of {', '.join(units)}"
            raise BadParameter(f"{', '.join(names)} is not on a scale from 0 to 1", field="task", hint=hint)
        described = [
            [p.metric.name, dict(p.metric.options), asdict(p.options), key_of_examples(p.examples)] for p in self.parts
        ]
        object.__setattr__(self, "key", key_of([self.combine, described]))
        object.__setattr__(self, "size", sum(len(part.examples) for part in self.parts))
        object.__setattr__(self, "span", (0.0, 1.0) if bounded else None)

    def rows(self, model: Any, which: Sequence[int]) -> list[Row]:
        found: dict[int, Row] = {}
        start = 0
        for part in self.parts:
            places = [place for place, i in enumerate(which) if start <= i < start + len(part.examples)]
            examples = [part.examples[which[place] - start] for place in places]
            if examples:
                asked = model.of_rows(places) if hasattr(model, "of_rows") else model
                measured = measure(asked, examples, part.metric, part.options, batch=max(BATCH, len(examples)))
                found.update(zip(places, measured.rows, strict=True))
            start += len(part.examples)
        return [found[place] for place in range(len(which))]

    def score(self, rows: Sequence[Row]) -> float:
        scores, start = [], 0
        for part in self.parts:
            own = rows[start : start + len(part.examples)]
            scores.append(_mean(own) if self.span else float(part.metric.aggregate(np.array(own).sum(0))))
            start += len(part.examples)
        if self.combine == "harmonic":
            return harmonic(scores)
        return scores[0] if len(scores) == 1 else _mean(rows)

    def require(self, model: Any) -> None:
        for part in self.parts:
            require(model, part.metric, part.examples)


def task_utility(
    tasks: Sequence[Task], *, split: str = "dev", limit: int | None = None, seed: int = 0, combine: str = "mean"
) -> TaskUtility:
    """The score on a split of one task or several. `limit` takes the first examples of each.

    With a single task and `combine` "harmonic" the parts are its groups. Raises BadParameter.
    """
    if limit is not None and limit < 1:
        raise BadParameter(f"{limit} examples cannot be measured", field="limit", hint="give 1 or more")
    parts = []
    for task in tasks:
        examples = task.split(split, seed=seed)[:limit]
        whole = Part(task.name, tuple(examples), find_metric(task.metric, task.metric_options), task.options)
        parts += _by_group(whole) if combine == "harmonic" and len(tasks) == 1 else [whole]
    return TaskUtility(tuple(parts), combine)


def _by_group(part: Part) -> list[Part]:
    names = list(dict.fromkeys(e.group or "" for e in part.examples))
    if len(names) < 2:
        hint = "give two tasks, or one whose lines have a group"
        raise BadParameter(f"{part.name} is one task without groups", field="combine", hint=hint)
    return [
        Part(name, tuple(e for e in part.examples if (e.group or "") == name), part.metric, part.options)
        for name in names
    ]


def harmonic(scores: Sequence[float]) -> float:
    """Harmonic mean, 2ab / (a + b) of two; 0 if one of several is 0, and .01 if all are (as in the released code)."""
    if not any(scores):
        return FLOOR
    return 0.0 if not all(scores) else len(scores) / math.fsum(1 / s for s in scores)


def bounds(utility: Utility, known: Mapping[int, Row]) -> tuple[float, float]:
    """The least and the largest score that are possible once the rows of some examples are known."""
    if utility.span is None:
        return -math.inf, math.inf
    low, high = ((end, 1.0) for end in utility.span)
    least = utility.score([known.get(i, low) for i in range(utility.size)])
    most = utility.score([known.get(i, high) for i in range(utility.size)])
    if getattr(utility, "combine", "") == "harmonic":  # not monotone at 0: .01 where all scores are 0, 0 where some are
        return min(least, 0.0), max(most, FLOOR)
    return least, most


def _mean(rows: Sequence[Row]) -> float:
    """Rounded once, so that it never falls when a value rises, and does not depend on order."""
    return math.fsum(row[0] for row in rows) / len(rows)


def refuse_unasked(model: Any, ability: str) -> None:
    """Raise Unsupported unless `model` has the ability (a method's name)."""
    if not hasattr(model, ability):
        raise Unsupported(f"cannot {ability}", field=getattr(model, "name", str(model)), hint="use a local model")
