"""Guesses without a model, from the text itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consort.cooperate.speculate.drafters.base import Start
from consort.cooperate.speculate.drafters.draft import EMPTY, Draft
from consort.cooperate.speculate.drafters.index import CountIndex, SuffixIndex
from consort.cooperate.speculate.rounds.pipeline import Pipeline
from consort.core.types import Usage


class TextSession:
    """Guesses from the text so far: an index for each row, fed with the prompt and with what is emitted."""

    def __init__(self, index: Callable[[], SuffixIndex | CountIndex]) -> None:
        self.index = index
        self.rows: list[SuffixIndex | CountIndex] = []

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        self.rows = [self.index() for _ in rows]
        self.observe([row.prompt for row in rows])

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        guesses = zip(self.rows, gammas, strict=True)
        return [Draft(row.continuation(gamma)) if gamma else EMPTY for row, gamma in guesses]

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        for row, tokens in zip(self.rows, emitted, strict=True):
            row.extend(tokens)

    def select(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        return [[] for _ in self.rows]
