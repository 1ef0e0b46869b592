"""What a search maximises, from its plan: the task's own score, or what other models say of the answers.

    search:
      utility: {reward: lab:reward, low: -3, high: 3}        # several: [a, b], `several: mean | min | mean-std`
      utility: {judge: lab:base}
      utility: {toxicity: CLASSIFIER, label: toxic}

Without `utility` it is the task's metric. Rewards, ratings and toxicity need no targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from consort.core.errors import BadPlan, ConsortError, Incompatible
from consort.core.journal import key_of
from consort.core.params import Param, bind, params_of
from consort.core.types import Completion, Example, Prompt, Sampling, Usage, add_cost
from consort.data import Task
from consort.data.task import key_of_examples
from consort.evaluate import Result
from consort.evaluate.bootstrap import interval_of
from consort.evaluate.registry import ratio
from consort.models.cost import cost_of
from consort.plan.build import Builder
from consort.plan.search.plan import SearchPlan, read_search
from consort.runs.search.spaces import PACK, open_space
from consort.search.engine.evaluator import Evaluator
from consort.search.utilities.reward import HIGH, LOW, Reward, judge_utility, reward_utility
from consort.search.utilities.toxicity import TOXIC, toxicity_utility
from consort.search.utilities.task import TaskUtility, Utility, task_utility
from consort.weights import describe

WHERE = "search.utility"
GREEDY = Sampling()
UNGRADED = "quality"
"""The metric of tasks that have prompts alone."""


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
    def utility(self) -> TaskUtility:
        """The task's own score."""
        return task_utility([self.task], split=self.split, limit=self.limit, seed=self.seed, combine=self.combine)

    @property
    def examples(self) -> tuple[Example, ...]:
        return tuple(e for part in self.utility.parts for e in part.examples)


def utility_of(plan: SearchPlan, ask: Ask, builder: Builder) -> Utility:
    """The utility that a plan names. Raises ConsortError for one that cannot be."""
    given = dict(plan.utility)
    if not given:
        return ask.utility
    kinds = [key for key in MAKERS if key in given]
    if len(kinds) != 1 or ask.combine != "mean":
        hint = f"write utility: {{reward: lab:reward}}; {' or '.join(MAKERS)}, one of them; and no --combine"
        raise BadPlan("a utility is a reward, a judge or a toxicity, and a mean", field=WHERE, hint=hint)
    [kind] = kinds
    if isinstance(given[kind], str | Mapping):
        given[kind] = [given[kind]]
    params, make = MAKERS[kind]
    try:
        bound = bind(kind, params, {key: value for key, value in given.items() if key != kind})
    except ConsortError as error:
        raise error.within(WHERE) from None
    return make(plan, ask, builder, given[kind], **bound)


def _rewarded(
    plan: SearchPlan,
    ask: Ask,
    builder: Builder,
    models: Sequence[Any],
    *,
    low: float = LOW,
    high: float = HIGH,
    several: Literal["mean", "min", "mean-std"] = "mean",
    prefer: Literal["plain", "verbose", "concise", "reverse"] = "plain",
    joint: str = " ",
) -> Utility:
    from consort.models.judges.reward_model import RewardModel

    opened = [builder.build(plan.node(model), "checkpoint") for model in models]
    judges = [RewardModel(checkpoint, joint) for checkpoint in opened]
    for judge in judges:
        judge.open()
    name = key_of([[describe(checkpoint) for checkpoint in opened], joint])
    made = reward_utility(
        name, ask.examples, [remembered(judge) for judge in judges], low=low, high=high, several=several, prefer=prefer
    )
    return _asked(made, ask)


def _rated(plan: SearchPlan, ask: Ask, builder: Builder, models: Sequence[Any]) -> Utility:
    if len(models) != 1:
        raise BadPlan(f"{len(models)} judges", field=f"{WHERE}.judge", hint="give one; a strategy is one too")
    judge = builder.build(plan.node(models[0]), "model")
    return _asked(judge_utility(judge, ask.examples), ask)


def _harmless(plan: SearchPlan, ask: Ask, builder: Builder, models: Sequence[Any], *, label: str = "") -> Utility:
    from consort.models.judges.label_model import LabelModel

    if len(models) != 1:
        raise BadPlan(f"{len(models)} classifiers", field=f"{WHERE}.toxicity", hint="give one")
    classifier = LabelModel(builder.build(plan.node(models[0]), "checkpoint"), label, TOXIC)
    classifier.open()
    name = key_of([describe(classifier.checkpoint), classifier.label])
    return _asked(toxicity_utility(name, ask.examples, classifier.probabilities), ask)


class _Heard:
    """A model whose answers, and what they cost, are kept."""

    def __init__(self, model: Any) -> None:
        self.model, self.name = model, model.name
        self.answers: list[Completion] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = GREEDY) -> list[Completion]:
        found: list[Completion] = self.model.generate(prompts, sampling)
        self.answers += found
        return found


def judged(model: Any, utility: Utility, ask: Ask) -> Result:
    """What a utility says of a model, as the result of a task that has prompts alone."""
    heard, begun = _Heard(model), perf_counter()
    rows = utility.rows(heard, range(utility.size))
    return Result(
        model=model.name,
        task=ask.task.name,
        split=ask.split,
        metric=UNGRADED,
        score=utility.score(rows),
        interval=interval_of(np.array(rows), ratio, span=utility.span, seed=ask.seed),
        statistics=tuple(rows),
        examples_key=key_of_examples(ask.examples),
        usage=sum((answer.usage for answer in heard.answers), Usage()),
        cost=add_cost(*(cost_of(model, answer) for answer in heard.answers)),
        seconds=perf_counter() - begun,
        answers=tuple(answer.text for answer in heard.answers),
    )


def _asked(utility: Any, ask: Ask) -> Utility:
    """The same, its answers as long as the task says and ended where it says."""
    options = ask.task.options
    made: Utility = replace(utility, max_tokens=options.max_tokens, stop=tuple(options.stop))
    return made


def remembered(judge: Any) -> Reward:
    """A reward model as a function of pairs, each of which it reads once."""
    known: dict[tuple[str, str], float] = {}

    def reward(pairs: Sequence[tuple[str, str]]) -> list[float]:
        for prompt, answer in pairs:
            if (prompt, answer) not in known:
                [known[prompt, answer]], _ = judge.rewards(prompt, [answer])
        return [known[pair] for pair in pairs]

    return reward


MAKERS: dict[str, tuple[tuple[Param, ...], Callable[..., Utility]]] = {
    "reward": (params_of(_rewarded), _rewarded),
    "judge": (params_of(_rated), _rated),
    "toxicity": (params_of(_harmless), _harmless),
}
"""By key in the plan: its parameters, and what makes the utility."""


def make_evaluator(
    document: Mapping[str, Any], ask: Ask, seed: int, allow_remote_code: bool = False
) -> Callable[..., Any]:
    """An evaluator from plain values, so that a worker elsewhere can make its own."""
    plan = read_search(document, seed=seed, allow_remote_code=allow_remote_code)
    builder = Builder(plan.seed, allow_remote_code)
    return Evaluator(open_space(plan, builder, pack=ask.pack), utility_of(plan, ask, builder))


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
