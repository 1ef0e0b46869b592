"""How sure a model is of its answer, as cascades ask it."""

from __future__ import annotations

from typing import Protocol

from consort.core.types import Completion


class Confidence(Protocol):
    """From an answer to a number in [0, 1], None where it cannot be known of this answer."""

    def __call__(self, answer: Completion) -> float | None: ...
