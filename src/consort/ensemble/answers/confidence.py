"""How sure a model is of its answer, as cascades ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from consort.core.types import Completion, Prompt, Usage


class Confidence(Protocol):
    """From an answer to a number in [0, 1], None where it cannot be known of this answer."""

    def __call__(self, answer: Completion) -> float | None: ...


def confidences_of(
    confidence: Confidence, prompts: Sequence[Prompt], answers: Sequence[Completion]
) -> tuple[list[float | None], list[Mapping[str, Usage]]]:
    """How sure each answer is, and what finding that out cost, by name.

    A confidence with a method `of(prompts, answers)` sees all prompts and answers at once and tells its cost; another
    sees one answer and costs nothing.
    """
    of = getattr(confidence, "of", None)
    if of is None:
        return [confidence(answer) for answer in answers], [{} for _ in answers]
    found: tuple[list[float | None], list[Mapping[str, Usage]]] = of(prompts, answers)
    return found
