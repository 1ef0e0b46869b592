"""What several models did on the same queries: the data that routers, cascades and votes are fitted on and replayed on.

It comes from a table of cached answers (models/cached/model.py), or from running the models on a task once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.core.counted import counted
from consort.core.errors import BadData, Incompatible
from consort.core.types import Example, Prompt
from consort.data.task import Task
from consort.evaluate import Result, evaluate
from consort.evaluate.measure import prompt_of
from consort.models.cached.model import Table, text_of
from consort.models.cost import distinct


@dataclass(frozen=True, slots=True)
class Observed:
    """Queries, and of each model its quality, answer and cost on them.

    `quality` is in [0, 1] where it comes from a table, larger is better, NaN where unknown. `answers[i][m]` is None
    where unknown; `answers` is () where no text is known. `cost` is in any one unit, NaN where unknown, None where
    nothing is known of it. `groups` are "" where a query has none.
    """

    models: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    quality: Float[np.ndarray, "n model"]
    answers: tuple[tuple[str | None, ...], ...] = ()
    cost: Float[np.ndarray, "n model"] | None = None
    groups: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def queries(self) -> list[str]:
        """The prompts as texts, the whole conversation of a chat."""
        return [text_of(prompt) for prompt in self.prompts]

    @property
    def accuracy(self) -> Float[np.ndarray, " model"]:
        """Mean quality of each model over the queries where it is known; 0 where it never is."""
        known = ~np.isnan(self.quality)
        total = np.where(known, self.quality, 0.0).sum(0)
        return np.asarray(total / np.maximum(known.sum(0), 1))

    @property
    def best(self) -> int:
        """The number of the best single model; of equal ones the first."""
        return int(self.accuracy.argmax())

    def prices(self) -> Float[np.ndarray, " model"]:
        """Mean cost of each model where it is known, else 0."""
        if self.cost is None:
            return np.zeros(len(self.models))
        known = ~np.isnan(self.cost)
        return np.asarray(np.where(known, self.cost, 0.0).sum(0) / np.maximum(known.sum(0), 1))

    def rows(self, rows: Sequence[int] | np.ndarray) -> Observed:
        """The same of some of the queries."""
        kept = [int(row) for row in rows]
        return replace(
            self,
            prompts=tuple(self.prompts[i] for i in kept),
            quality=self.quality[kept],
            answers=tuple(self.answers[i] for i in kept) if self.answers else (),
            cost=None if self.cost is None else self.cost[kept],
            groups=tuple(self.groups[i] for i in kept) if self.groups else (),
        )

    def columns(self, columns: Sequence[int]) -> Observed:
        """The same of some of the models, in this order."""
        kept = list(columns)
        return replace(
            self,
            models=tuple(self.models[m] for m in kept),
            quality=self.quality[:, kept],
            answers=tuple(tuple(row[m] for m in kept) for row in self.answers),
            cost=None if self.cost is None else self.cost[:, kept],
        )

    def named(self, names: Sequence[str]) -> Observed:
        """The same with the models in the order of `names`, where these are its models' names; else as it is."""
        if list(names) == list(self.models) or sorted(names) != sorted(self.models):
            return self
        return self.columns([self.models.index(name) for name in names])

    def ranking(self) -> list[int]:
        """The models by mean quality, the best first; of equal ones the cheaper.

        What is left of ties is decided by the qualities themselves, then by name: the order of columns never matters.
        """
        accuracy, prices = np.round(self.accuracy, 9), self.prices()
        columns = np.nan_to_num(self.quality, nan=-1.0).T

        def place(m: int) -> tuple[float, float, list[float], str]:
            return -float(accuracy[m]), float(prices[m]), columns[m].tolist(), self.models[m]

        return sorted(range(len(self.models)), key=place)

    def known(self) -> Observed:
        """The same without queries for which no quality is known. Raises BadData where none is left."""
        rows = np.flatnonzero(~np.isnan(self.quality).all(1))
        if not len(rows):
            raise BadData("no quality is known of any answer", field="quality", hint="give scores, or a task")
        return self.rows(rows)

    def fit_and_held_out(self, seed: int = 0) -> tuple[Observed, Observed]:
        """Two halves, cut as a task's dev examples are: group by group, equal prompts together.

        Raises BadData where there are fewer than two different prompts.
        """
        groups = self.groups or ("",) * len(self)
        examples = tuple(
            Example(prompt=text, group=group or None, line=i)
            for i, (text, group) in enumerate(zip(self.queries, groups, strict=True))
        )
        fit, held_out = Task("the observed queries", "quality", examples, ()).fit_and_held_out(seed)
        return self.rows([e.line for e in fit]), self.rows([e.line for e in held_out])


def from_table(table: Table, models: Sequence[str] | None = None, *, split: str | None = None) -> Observed:
    """What a table tells of `models` (default: all), in this order; with `split` only its "dev" or "test" rows.

    Tokens count as cost where the table has no costs. Raises UnknownName for a model, BadData where no row is left.
    """
    columns = [table.column(m) for m in (table.models if models is None else models)]
    tokens = table.tokens.sum(2)
    cost = next((c for c in (table.cost, tokens) if not np.isnan(c[:, columns]).all()), None)
    has_texts = any(text is not None for row in table.answers for text in row)
    observed = Observed(
        tuple(table.models), table.prompts, table.quality, table.answers if has_texts else (), cost, table.groups
    ).columns(columns)
    if split is None:
        return observed
    kept = table.rows_of(split)
    if not kept:
        raise BadData(f"no {split} rows", field=table.path, hint=f"give rows of the split {split}")
    return observed.rows(kept)


def observe(
    models: Sequence[Any],
    task: Task,
    *,
    split: str = "dev",
    seed: int = 0,
    known: Mapping[int, Result] | None = None,
) -> Observed:
    """Run each model once on a split of `task` (those in `known`, by number, need not be run again).

    The quality is the metric's score of every example; a model's cost is its mean tokens an example.
    """
    known = known or {}
    return from_results(
        [known.get(m) or evaluate(model, task, split=split, seed=seed, keep_answers=True)
         for m, model in enumerate(models)],
        task.split(split, seed=seed),
    )  # fmt: skip


def from_results(results: Sequence[Result], examples: Sequence[Example]) -> Observed:
    """Results of several models on the same examples. Raises Incompatible for results of other examples."""
    for result in results:
        if result.count != len(examples):
            what = f"{counted(result.count, 'result')} for {counted(len(examples), 'example')}"
            raise Incompatible(what, field=result.model, hint="evaluate all models on the same examples")
    texts = tuple(zip(*(r.answers for r in results), strict=True)) if all(r.answers for r in results) else ()
    tokens = np.array([r.tokens / r.count for r in results])
    return Observed(
        tuple(distinct([r.model for r in results])),
        tuple(prompt_of(e) for e in examples),
        np.array([r.scores for r in results]).T,
        texts,
        np.tile(tokens, (len(examples), 1)) if tokens.any() else None,
        tuple(e.group or "" for e in examples),
    )
