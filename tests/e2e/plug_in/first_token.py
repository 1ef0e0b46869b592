"""A confidence: the probability of an answer's first token."""

from __future__ import annotations

import math

from consort.core.types import Completion
from consort.ensemble.confidences import confidence


@confidence()
class FirstToken:
    """The probability of the first token; None where it is not known."""

    def __call__(self, answer: Completion) -> float | None:
        logprobs = answer.details.get("logprobs")
        return math.exp(logprobs[0]) if logprobs else None
