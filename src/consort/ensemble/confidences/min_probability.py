"""The least probability of an answer's tokens."""

from __future__ import annotations

import math

from consort.core.types import Completion
from consort.ensemble.confidences import confidence


@confidence()
class MinProbability:
    """The least probability of an answer's tokens."""

    def __call__(self, answer: Completion) -> float | None:
        logprobs = answer.details.get("logprobs")
        return None if logprobs is None else math.exp(min(logprobs, default=0.0))
