"""A utility: short answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.core.params import Range
from consort.data.task import Task
from consort.search.utilities import utility
from consort.search.utilities.answers import AnswerObjective, on_answers


@utility()
class Brevity:
    """One less an answer's share of `most` characters, at least 0."""

    def __init__(self, *, most: Annotated[int, Range(1, 100000)] = 50) -> None:
        self.most = most

    def on(self, task: Task, *, split: str = "dev", limit: int | None = None, seed: int = 0) -> AnswerObjective:
        name = f"brevity {self.most}"
        return on_answers(name, self.values, (0.0, 1.0), task, split=split, limit=limit, seed=seed)

    def values(self, prompts: Sequence[str], answers: Sequence[str], tokens: Sequence[int]) -> list[float]:
        return [max(0.0, 1 - len(answer) / self.most) for answer in answers]
