"""What an answer says: the part of a text that answers can be compared by, None where it cannot be read.

There is a reading for each way of grading (`consort methods --kind reading`), so that answers that a task counts as
equal are one answer in a vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Int

from consort.core.errors import BadData
from consort.ensemble.learning.observations import Observed

OF_METRIC = {"choice": "choice", "numeric": "numeric", "token_f1": "words"}


class Reading(Protocol):
    """From a text to what it says."""

    def __call__(self, text: str) -> str | None: ...


def reading_of_metric(metric: str) -> str:
    """The name of the reading that goes with a task's metric: texts are compared as they are where none is better."""
    return OF_METRIC.get(metric, "exact")


def codes(answers: Sequence[str | None]) -> list[int]:
    """Answers as numbers in order of first appearance; -1 for those that cannot be read."""
    known: dict[str, int] = {}
    return [-1 if answer is None else known.setdefault(answer, len(known)) for answer in answers]


def answer_codes(observed: Observed, read: Reading) -> Int[np.ndarray, "n model"]:
    """Observed answers as numbers, by query: equal where they read the same, -1 where there is none.

    Raises BadData where only qualities are known.
    """
    if not observed.answers:
        raise BadData("the answers' texts are not known", field="answers", hint="a vote needs texts to compare")
    rows = [[None if text is None else read(text) for text in row] for row in observed.answers]
    return np.array([codes(row) for row in rows]).reshape(len(observed), len(observed.models))
