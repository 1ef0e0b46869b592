"""The least probability of an answer's tokens (minimum probability of uqlm, 2504.19254)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped
from consort.cooperate.detect.white.probabilities import from_logprobs
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding


@detector(needs=("logprobs",), paper="2504.19254")
class LeastProbability(Judging):
    """1 less the probability of the least likely token; `raw` is that probability.

    From the case's own `logprobs`, or with `model` from what that model thinks of the answer after source and prompt.
    """

    def __init__(self, *, model: LanguageModel | None = None) -> None:
        self.model = model
        self.needs = () if model is not None else ("logprobs",)

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return from_logprobs(self.model, cases, _rule, lambda x: clipped(-math.expm1(x)))


def _rule(logprobs: Sequence[float]) -> tuple[float, float]:
    raw = math.exp(min(logprobs))
    return clipped(1 - raw), raw
