"""The geometric mean of the probabilities of an answer's tokens."""

from __future__ import annotations

import math

from consort.core.types import Completion
from consort.ensemble.confidences import confidence


@confidence()
class MeanProbability:
    """The geometric mean of the probabilities of an answer's tokens."""

    def __call__(self, answer: Completion) -> float | None:
        count = len(answer.tokens) or len(answer.details.get("logprobs", ()))  # endpoints tell no token ids
        return None if answer.logprob is None else math.exp(answer.logprob / max(1, count))
