"""A quantile of the probabilities of an answer's tokens (2404.10136).

Between the least, which long answers fail by chance, and the mean, in which one doubtful token is lost.
"""

from __future__ import annotations

import math
from typing import Annotated

from consort.core.params import Range
from consort.core.types import Completion
from consort.ensemble.confidences import confidence


@confidence(paper="2404.10136")
class Quantile:
    """The probability that a `share` of an answer's tokens do not exceed: 0 is the least, 0.5 the median, 1 the most.

    Between two tokens it is their log-probabilities that are interpolated.
    """

    def __init__(self, *, share: Annotated[float, Range(0, 1)] = 0.2) -> None:
        self.share = share

    def __call__(self, answer: Completion) -> float | None:
        logprobs = answer.details.get("logprobs")
        if logprobs is None:
            return None
        ordered = sorted(logprobs) or [0.0]
        place = self.share * (len(ordered) - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        return math.exp(low + (high - low) * (place - math.floor(place)) if low != high else low)
