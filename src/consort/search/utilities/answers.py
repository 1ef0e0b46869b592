"""Objectives that value a model's answers one by one, whatever the task's metric is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from consort.core.journal import key_of
from consort.core.types import Example, Prompt, Sampling
from consort.data.task import Task, key_of_examples
from consort.evaluate.measure import prompt_of
from consort.search.utilities.objective import Row, refuse_unasked

Value = Callable[[Sequence[str], Sequence[str], Sequence[int]], Sequence[float]]
"""What answers are worth: by prompts, answers and their numbers of tokens."""


@dataclass(frozen=True, slots=True)
class AnswerObjective:
    """Mean value of a model's answers; `value` gives it for prompts, answers and their numbers of tokens.

    An answer ends after `max_tokens`, or at one of `stop`.
    """

    name: str
    examples: tuple[Example, ...]
    value: Value
    span: tuple[float, float] = (0.0, 1.0)
    max_tokens: int = 200
    stop: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A hash of the utility, the examples and how answers end."""
        return key_of([self.name, key_of_examples(self.examples), self.max_tokens, self.stop])

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.examples)

    def rows(self, model: Any, which: Sequence[int]) -> list[Row]:
        """A row (value, 1) for each of the examples `which`."""
        examples = [self.examples[i] for i in which]
        prompts: list[Prompt] = [prompt_of(e) for e in examples]
        answers = model.generate(prompts, Sampling(max_tokens=self.max_tokens, stop=self.stop))
        texts = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
        counts = [answer.usage.completion_tokens for answer in answers]
        values = self.value(texts, [answer.text for answer in answers], counts)
        return [(float(value), 1.0) for value in values]

    def score(self, rows: Sequence[Row]) -> float:
        """The mean of the values."""
        return math.fsum(row[0] for row in rows) / len(rows)

    def require(self, model: Any) -> None:
        """Raises Unsupported for a model that gives no answers."""
        refuse_unasked(model, "generate")


def on_answers(
    name: str, value: Value, span: tuple[float, float], task: Task, *, split: str, limit: int | None, seed: int
) -> AnswerObjective:
    """The objective on a split of a task, its answers as long as the task says and ended where it says."""
    examples, options = task.split(split, seed=seed)[:limit], task.options
    return AnswerObjective(name, tuple(examples), value, span, options.max_tokens, tuple(options.stop))
