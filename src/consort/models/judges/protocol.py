"""What a judge is: of a prompt and answers to it, a number for each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from consort.core.types import Prompt, Usage


class Judge(Protocol):
    """A model that judges answers; `name` stands for it in a strategy's cost."""

    name: str

    def open(self) -> Any:
        """Read what it needs now, so that a judge that cannot be used is said before anybody is asked."""

    def rewards(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], Usage]:
        """A number for each answer, the larger the better, and what judging them took."""


def spent(judge: Any, usage: Usage) -> Mapping[str, Usage]:
    """The cost of a judgement by the name of the model that judged."""
    return {getattr(judge, "judged_by", judge.name): usage}
