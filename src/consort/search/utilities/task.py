"""The task's own metric: its mean over all examples, or the harmonic mean of the scores of tasks or groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from consort.core.errors import BadParameter, did_you_mean
from consort.core.journal import key_of
from consort.core.types import Example
from consort.data import task as data
from consort.data.registry import METRICS
from consort.data.settings import Options
from consort.data.task import key_of_examples
from consort.evaluate.measure import measure, require
from consort.evaluate.registry import Metric, find_metric
from consort.search.utilities import utility
from consort.search.utilities.objective import Row, harmonic

BATCH = 256
COMBINATIONS = ("mean", "harmonic")


@utility()
class Task:
    """The score by the task's own metric; `combine`: the mean over examples, or the harmonic mean of the groups."""

    def __init__(self, *, combine: Literal["mean", "harmonic"] = "mean") -> None:
        self.combine = combine

    def on(self, task: data.Task, *, split: str = "dev", limit: int | None = None, seed: int = 0) -> TaskObjective:
        """Raises BadParameter where there are no groups to combine."""
        return task_objective([task], split=split, limit=limit, seed=seed, combine=self.combine)


@dataclass(frozen=True, slots=True)
class Part:
    """Examples that are measured alike."""

    name: str
    examples: tuple[Example, ...]
    metric: Metric
    options: Options


@dataclass(frozen=True, slots=True)
class TaskObjective:
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

    @property
    def generates(self) -> bool:
        """Whether models are asked for answers alone."""
        return all(part.metric.asks == "generate" for part in self.parts)

    def rows(self, model: Any, which: Sequence[int]) -> list[Row]:
        """The metric's row of each of the examples `which`."""
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
        """The mean over all examples, or the harmonic mean of the parts' scores."""
        scores, start = [], 0
        for part in self.parts:
            own = rows[start : start + len(part.examples)]
            scores.append(_mean(own) if self.span else float(part.metric.aggregate(np.array(own).sum(0))))
            start += len(part.examples)
        if self.combine == "harmonic":
            return harmonic(scores)
        return scores[0] if len(scores) == 1 else _mean(rows)

    def require(self, model: Any) -> None:
        """Raises Unsupported for a model that lacks what a metric needs."""
        for part in self.parts:
            require(model, part.metric, part.examples)


def task_objective(
    tasks: Sequence[data.Task], *, split: str = "dev", limit: int | None = None, seed: int = 0, combine: str = "mean"
) -> TaskObjective:
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
    return TaskObjective(tuple(parts), combine)


def _by_group(part: Part) -> list[Part]:
    names = list(dict.fromkeys(e.group or "" for e in part.examples))
    if len(names) < 2:
        hint = "give two tasks, or one whose lines have a group"
        raise BadParameter(f"{part.name} is one task without groups", field="combine", hint=hint)
    return [
        Part(name, tuple(e for e in part.examples if (e.group or "") == name), part.metric, part.options)
        for name in names
    ]


def _mean(rows: Sequence[Row]) -> float:
    """Rounded once, so that it never falls when a value rises, and does not depend on order."""
    return math.fsum(row[0] for row in rows) / len(rows)
