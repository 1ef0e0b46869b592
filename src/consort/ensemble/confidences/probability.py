"""The probability of the whole answer: the product of its tokens'."""

from __future__ import annotations

import math

from consort.core.types import Completion
from consort.ensemble.confidences import confidence


@confidence()
class Probability:
    """The probability of the whole answer: the product of its tokens'."""

    def __call__(self, answer: Completion) -> float | None:
        return None if answer.logprob is None else math.exp(answer.logprob)
