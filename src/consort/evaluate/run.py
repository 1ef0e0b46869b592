"""Evaluation: a model, a task, a Result; and the same as an objective for a search."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from time import perf_counter
from typing import Any

import numpy as np

from consort.core.counted import counted
from consort.core.errors import BadData, BadParameter
from consort.core.types import Example, Objective
from consort.data.task import Task, key_of_examples
from consort.evaluate.bootstrap import interval_of
from consort.evaluate.measure import Measured, measure
from consort.evaluate.registry import Metric, find_metric
from consort.evaluate.result import Result, plain_details
from consort.models.cost import sizes as sizes_of

log = logging.getLogger(__name__)

BATCH = 64


def _check_is_model(model: Any) -> None:
    """Raises BadParameter for a list of models, a reference or a checkpoint in a model's place."""
    if isinstance(model, str | PurePath):
        raise BadParameter(f"{str(model)!r} is a reference", field="model", hint=f"consort.model({str(model)!r})")
    if isinstance(model, Sequence):
        hint = "evaluate them one by one, then consort.compare(results); or a strategy over them"
        raise BadParameter(f"{counted(len(model), 'model')} in a list are no model", field="model", hint=hint)
    if hasattr(model, "spec"):
        raise BadParameter(f"{model.name} is a checkpoint", field="model", hint="consort.model(checkpoint) opens it")


def _check_given(model: Any, task: Any) -> None:
    """Raises BadParameter for what is no model, and for a path or anything else in a task's place."""
    _check_is_model(model)
    if not isinstance(task, Task):
        what = f"{str(task)!r:.80} is a reference" if isinstance(task, str | PurePath) else f"{task!r:.60} is no task"
        raise BadParameter(what, field="task", hint="consort.load_task(path) opens one")


def evaluate(
    model: Any,
    task: Task,
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    keep_answers: bool = False,
    batch: int = BATCH,
) -> Result:
    """The score of `model` on a split of `task` ("dev", "test", or "fit" and "held_out", the parts of dev by `seed`).

    `limit` takes the first examples only. `batch` is how many are given to the model at once. The interval's resamples
    are drawn by `seed`. Raises Unsupported, BadData or UnknownName before the model is asked, and BadParameter for what
    is no model.

    >>> import consort
    >>> from consort import lab
    >>> task = consort.load_task(lab.path("tasks/skills"))
    >>> consort.evaluate(consort.model("lab:mirror"), task, limit=20).count
    20
    """
    _check_given(model, task)
    asked = Asked.of(task, split=split, limit=limit, seed=seed)
    started = perf_counter()
    with asked.placed():
        found = measure(model, asked.examples, asked.metric, task.options, batch=batch)
    result = result_of(
        found,
        asked,
        name=model.name,
        vocabulary=vocabulary_of(model),
        sizes=sizes_of(model),
        seconds=perf_counter() - started,
    )
    if not keep_answers:
        return result
    details = tuple(map(plain_details, found.details)) if any(found.details) else ()
    return replace(result, answers=tuple(found.answers), details=details)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a model: examples of a split of a task, graded by its metric."""

    task: Task
    split: str
    seed: int
    metric: Metric
    examples: tuple[Example, ...]

    @classmethod
    def of(cls, task: Task, *, split: str, limit: int | None, seed: int) -> Asked:
        """Raises BadParameter, BadData, UnknownName for what cannot be asked."""
        if limit is not None and limit < 1:
            raise BadParameter(f"{limit} examples cannot be measured", field="limit", hint="give 1 or more")
        metric = find_metric(task.metric, task.metric_options)
        return cls(task, split, seed, metric, tuple(task.split(split, seed=seed)[:limit]))

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Within it, an error of an example says of which task it is one."""
        try:
            yield
        except BadData as fault:
            if fault.field and fault.field.startswith("line "):
                fault.field = f"{self.task.name} ({self.split}): {fault.field}"
            raise


def vocabulary_of(model: Any) -> str | None:
    """Which tokens a model has, None where that is not known."""
    return getattr(getattr(model, "tokenizer", None), "vocabulary_key", None)


def result_of(
    found: Measured,
    asked: Asked,
    *,
    name: str,
    vocabulary: str | None,
    sizes: Mapping[str, float],
    seconds: float,
) -> Result:
    """The result of what was measured, without answers; odd endings are told."""
    metric, examples = asked.metric, asked.examples
    _tell_odd(found, f"{name} on {asked.task.name}")
    rows = np.array(found.rows)
    return Result(
        model=name,
        task=asked.task.name,
        split=asked.split,
        metric=metric.name,
        score=float(metric.aggregate(rows.sum(0))),
        interval=interval_of(rows, metric.aggregate, span=metric.span, seed=asked.seed),
        statistics=tuple(found.rows),
        examples_key=key_of_examples(examples),
        groups=_by_group(examples, rows, metric),
        usage=found.usage,
        cost=found.cost,
        seconds=seconds,
        figures=_figures(rows, metric, found),
        vocabulary=vocabulary,
        sizes=sizes,
    )


def _tell_odd(found: Measured, what: str) -> None:
    if odd := found.odd:
        told = ", ".join(f"{n} by {reason}" for reason, n in odd.items())
        log.warning("%s: of %d answers ended %s", what, len(found.rows), told)


def objective(task: Task, *, split: str = "fit", limit: int | None = None, seed: int = 0) -> Objective:
    """The function of a model that a search maximises: its score on that split."""

    def score(model: Any) -> float:
        return evaluate(model, task, split=split, limit=limit, seed=seed).score

    return score


def _by_group(examples: Sequence[Example], rows: np.ndarray, metric: Metric) -> dict[str, float]:
    names = [e.group or "" for e in examples]
    if not any(names):
        return {}
    scores = {name: float(metric.aggregate(rows[[n == name for n in names]].sum(0))) for name in dict.fromkeys(names)}
    return {name: score for name, score in scores.items() if not math.isnan(score)}


def _figures(rows: np.ndarray, metric: Metric, found: Measured) -> dict[str, float]:
    if metric.asks != "logprobs":
        left_out = {"left_out": float(found.left_out)} if found.left_out else {}
        return {f"ended_{reason}": float(n) for reason, n in found.odd.items()} | left_out
    total, tokens, n_bytes = map(float, rows.sum(0))
    return {
        "perplexity": math.exp(-total / tokens),
        "bits_per_byte": -total / (n_bytes * math.log(2)),
        "truncated": float(found.truncated),
        "unknown_tokens": float(found.unknown),
    }
