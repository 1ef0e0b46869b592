"""Whether the samples contradict the answer as a whole, both ways (non-contradiction of uqlm, 2504.19254)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, shared_cost
from consort.cooperate.detect.pairs.nli import CONTRADICT
from consort.cooperate.detect.sampling.likeness import pairwise
from consort.models.detecting import Case, Finding, PairScorer


@detector(needs=("samples",), paper="2504.19254", example={"nli": "fake"})
class Noncontradiction(Judging):
    """The mean over samples of P(contradiction), meaned over both directions; a sample equal to the answer has 0.

    `raw` is 1 less that.
    """

    def __init__(self, nli: PairScorer) -> None:
        self.nli = nli

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        found = []
        for case in cases:
            against = np.array([pairwise([case.answer, sample], self.nli)[..., CONTRADICT] for sample in case.samples])
            doubt = clipped(float((against[:, 0, 1] + against[:, 1, 0]).mean() / 2))
            found.append(Finding(doubt, 1 - doubt))
        return shared_cost(found, self.nli.name, self.nli.spent())
