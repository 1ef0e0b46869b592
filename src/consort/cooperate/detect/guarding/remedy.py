"""What a remedy is: what may be done about answers that a detector doubts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.models.detecting import Case, Finding

Judge = Callable[[Sequence[Prompt], Sequence[Completion]], list[tuple[Case, Finding]]]
"""Judges new answers to prompts as the old ones were judged; their cost is in the findings."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """An answer in doubt: its prompt, what the model said, the case and the finding."""

    prompt: Prompt
    answer: Completion
    case: Case
    finding: Finding


@dataclass(frozen=True, slots=True)
class Remedied:
    """What became of an answer: the new one, or None where the old one stays; `note` says why, for the details.

    `cost` is what the remedy asked of models, by name; `finding` that of the new answer, where it was judged.
    """

    answer: Completion | None
    note: str
    finding: Finding | None = None
    cost: Mapping[str, Usage] = field(default_factory=dict)


class Remedy(Protocol):
    """Does something about answers in doubt; `members` are the models that it asks."""

    name: str

    @property
    def members(self) -> Sequence[Any]: ...

    def treat(
        self, doubtful: Sequence[Doubtful], model: Any, judge: Judge, sampling: Sampling, threshold: float
    ) -> list[Remedied]:
        """What becomes of each answer; a new one is only taken where it is judged better, if the remedy judges."""
