"""Evaluation by workers: processes of this machine, of a Ray cluster, or of all machines that share a folder.

Each makes its own models and measures parts of the examples; the parts are those that one process would give a model
together, so the result is the same, whoever measured which and whichever worker was lost.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from consort.core.errors import BadParameter
from consort.core.journal import key_of
from consort.core.progress import track
from consort.data import Task
from consort.evaluate.measure import check_gradable
from consort.evaluate.parts import Part, joined, measured_part, spans
from consort.evaluate.result import Result
from consort.evaluate.run import BATCH, Asked
from consort.models.placement import carried
from consort.plan.build import build
from consort.plan.expression import Plan, dump
from consort.search.engine.workers import check_engine, others, workers

log = logging.getLogger("consort")


@dataclass(frozen=True, slots=True)
class PartJob:
    """Examples in a row for one system."""

    system: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Question:
    """All that a worker needs: systems by name, examples of a task, and the folder in which relative paths hold."""

    systems: Mapping[str, Plan]
    task: Task
    split: str
    limit: int | None
    seed: int
    folder: str
    allow_remote_code: bool

    @property
    def asked(self) -> Asked:
        return Asked.of(self.task, split=self.split, limit=self.limit, seed=self.seed)


def evaluate_with(
    engine: str,
    systems: Mapping[str, Plan],
    task: Task,
    *,
    count: int = 2,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    batch: int = BATCH,
    allow_remote_code: bool = False,
) -> list[Result]:
    """The results of `systems` on a task, in order, measured by `count` workers of an engine (`search.engine.workers`).

    They are those of `consort.evaluate`, except that `seconds` sums the time of all workers, whose warnings are told
    here. Raises as it does, and EnvironmentFailure where no worker is left.
    """
    check_engine(engine, count)
    if batch < 1:
        raise BadParameter(f"{batch} examples at a time are none", field="batch", hint="give 1 or more")
    question = Question(systems, task, split, limit, seed, os.getcwd(), allow_remote_code)
    asked = question.asked
    check_gradable(asked.metric, asked.examples)
    jobs = [PartJob(name, *span) for name in systems for span in spans(len(asked.examples), batch)]
    named = [[name, dump(plan.root)] for name, plan in systems.items()]
    evaluation = key_of([named, task.key, split, limit, seed, batch])
    parts: dict[str, list[Part]] = {name: [] for name in systems}
    make, told = carried(partial(make_measurer, question, elsewhere=others(engine))), set[str]()
    with workers(engine, make, count, evaluation, Part) as hands, track("evaluating", len(jobs)) as advance:
        for job, [part] in zip(jobs, hands.map(jobs), strict=True):
            parts[job.system].append(part)
            for note in dict.fromkeys(note for note in part.notes if note not in told):
                told.add(note)
                log.warning("%s", note)
            advance(1)
    return [joined(found, asked) for found in parts.values()]


def make_measurer(question: Question, *, elsewhere: bool = False) -> Callable[[PartJob], list[Part]]:
    """From a part to what was measured, in a worker; its model is made at its first part, and let go with its last.

    Where that is `elsewhere`, in a process that nobody looks at, warnings come with the parts.
    """
    if os.path.isdir(question.folder):
        os.chdir(question.folder)
    asked = question.asked
    held: dict[str, Any] = {}

    def measured(job: PartJob) -> Part:
        if job.system not in held:
            held.clear()
            plan = question.systems[job.system]
            held[job.system] = build(plan, "model", allow_remote_code=question.allow_remote_code)
        return measured_part(held[job.system], asked, job.start, job.stop)

    def measure(job: PartJob) -> list[Part]:
        if not elsewhere:
            return [measured(job)]
        with _kept_warnings() as notes:
            part = measured(job)
        return [replace(part, notes=tuple(notes))]

    return measure


class _Keeps(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(record.getMessage())


@contextmanager
def _kept_warnings() -> Iterator[list[str]]:
    """Within the block, what is warned of is kept."""
    notes: list[str] = []
    before = log.handlers, log.propagate
    log.handlers, log.propagate = [_Keeps(notes)], False
    try:
        yield notes
    finally:
        log.handlers, log.propagate = before
