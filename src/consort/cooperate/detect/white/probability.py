"""The length-normalised probability of an answer (normalised probability of uqlm, 2504.19254)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped
from consort.cooperate.detect.white.probabilities import from_logprobs
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding


@detector(needs=("logprobs",), paper="2504.19254")
class Probability(Judging):
    """1 less the geometric mean of the tokens' probabilities; `raw` is that mean.

    From the case's own `logprobs`, or with `model` from what that model thinks of the answer after source and prompt.
    """

    def __init__(self, *, model: LanguageModel | None = None) -> None:
        self.model = model
        self.needs = () if model is not None else ("logprobs",)

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return from_logprobs(self.model, cases, _rule, lambda x: clipped(-math.expm1(x)))


def _rule(logprobs: Sequence[float]) -> tuple[float, float]:
    raw = math.exp(math.fsum(logprobs) / len(logprobs))
    return clipped(1 - raw), raw
