"""What a search maximises, on which examples: the utility that its plan names, by default the task's own score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from consort.core.errors import BadPlan, ConsortError, Incompatible
from consort.core.types import Completion, Example, Prompt, Sampling, Usage, add_cost
from consort.data import Task
from consort.data.task import key_of_examples
from consort.evaluate import Result
from consort.evaluate.bootstrap import interval_of
from consort.evaluate.registry import ratio
from consort.models.cost import cost_of
from consort.plan.build import Builder
from consort.plan.search.plan import SearchPlan, read_search
from consort.plan.search.utility import WHERE
from consort.runs.search.spaces import PACK, open_space
from consort.search.engine.evaluator import Evaluator
from consort.search.utilities.objective import Objective, Utility

GREEDY = Sampling()
UNGRADED = "quality"
"""The metric of tasks that have prompts alone."""
OWN = "task"
"""The utility that is the task's own score."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a search scores points by: `split` and `limit` choose examples of `task`, `combine` joins its groups.

    `pack` is how many adapters' mixtures share a forward pass; it is part of what a run is, for batches of another
    size round differently.
    """

    task: Task
    split: str = "dev"
    limit: int | None = None
    combine: str = "mean"
    seed: int = 0
    pack: int = PACK

    @property
    def examples(self) -> tuple[Example, ...]:
        """What is asked, in order."""
        return tuple(self.task.split(self.split, seed=self.seed)[: self.limit])


def objective_of(plan: SearchPlan, ask: Ask, builder: Builder) -> Objective:
    """The utility that a plan names, on what is asked. Raises ConsortError for one that cannot be."""
    call = plan.utility
    if ask.combine != "mean":
        if call.name != OWN:
            raise BadPlan(f"{call.name} is a mean over all examples", field=WHERE, hint="leave out --combine")
        call = replace(call, arguments={**call.arguments, "combine": ask.combine})
    try:
        utility: Utility = builder.build(call, "utility")
        return utility.on(ask.task, split=ask.split, limit=ask.limit, seed=ask.seed)
    except ConsortError as error:
        raise error.within(WHERE) if call.name != OWN else error from None


class _Kept:
    """A model whose answers, and what they cost, are kept."""

    def __init__(self, model: Any) -> None:
        self.model, self.name = model, model.name
        self.answers: list[Completion] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = GREEDY) -> list[Completion]:
        found: list[Completion] = self.model.generate(prompts, sampling)
        self.answers += found
        return found


def judged(model: Any, objective: Objective, ask: Ask) -> Result:
    """What an objective says of a model, as the result of a task that has prompts alone."""
    kept, begun = _Kept(model), perf_counter()
    rows = objective.rows(kept, range(objective.size))
    return Result(
        model=model.name,
        task=ask.task.name,
        split=ask.split,
        metric=UNGRADED,
        score=objective.score(rows),
        interval=interval_of(np.array(rows), ratio, span=objective.span, seed=ask.seed),
        statistics=tuple(rows),
        examples_key=key_of_examples(ask.examples),
        usage=sum((answer.usage for answer in kept.answers), Usage()),
        cost=add_cost(*(cost_of(model, answer) for answer in kept.answers)),
        seconds=perf_counter() - begun,
        answers=tuple(answer.text for answer in kept.answers),
    )


def make_evaluator(document: Mapping[str, Any], ask: Ask, seed: int, allow_remote_code: bool = False) -> Evaluator:
    """An evaluator from plain values, so that a worker elsewhere can make its own."""
    plan = read_search(document, seed=seed, allow_remote_code=allow_remote_code)
    builder = Builder(plan.seed, allow_remote_code)
    return Evaluator(open_space(plan, builder, pack=ask.pack), objective_of(plan, ask, builder))


def _graded(task: Task) -> tuple[Any, ...]:
    return task.metric, task.metric_options, task.options


def joined(tasks: Sequence[Task]) -> Task:
    """Several tasks as one whose groups are their names. Raises Incompatible where they are measured differently."""
    first = tasks[0]
    if len(tasks) == 1:
        return first
    for task in tasks[1:]:
        if _graded(task) != _graded(first):
            hint = "tasks that are searched together have one metric and equal options"
            raise Incompatible(f"is not measured as {first.name} is", field=task.name, hint=hint)
    names = [
        task.name if sum(t.name == task.name for t in tasks) == 1 else f"{task.name} {i + 1}"
        for i, task in enumerate(tasks)
    ]
    dev, test = (
        tuple(replace(e, group=name) for name, task in zip(names, tasks, strict=True) for e in getattr(task, split))
        for split in ("dev", "test")
    )
    return Task(" + ".join(names), first.metric, dev, test, first.options, first.metric_options)
