"""Semantic density (Qiu and Miikkulainen, 2405.13845): how much probability lies near an answer's meaning."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, shared_cost
from consort.cooperate.detect.pairs.nli import CONTRADICT, NEUTRAL
from consort.cooperate.detect.sampling.likeness import pairwise
from consort.models.detecting import Case, Finding, PairScorer


@detector(needs=("samples", "sample_logprobs"), paper="2405.13845", example={"nli": "fake"})
class SemanticDensity(Judging):
    """1 less the density: the mean kernel between answer and samples, weighted by the samples' probabilities.

    The kernel is 1 - d^2 with d^2 = P(contradiction) + P(neutral) / 2, meaned over both directions (eqs. 5 to 7);
    probabilities are length-normalised (eq. 9). `raw` is the density. With the prompt set before both texts, as in the
    paper, where a case has one.
    """

    def __init__(self, nli: PairScorer, *, with_prompt: bool = True) -> None:
        self.nli, self.with_prompt = nli, with_prompt

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        found = [self._finding(case) for case in cases]
        return shared_cost(found, self.nli.name, self.nli.spent())

    def _finding(self, case: Case) -> Finding:
        rows = case.sample_logprobs or ()
        weights = [math.exp(math.fsum(row) / max(1, len(row))) for row in rows]
        total = math.fsum(weights)
        if len(rows) != len(case.samples) or not total:
            return Finding(None, notes=("the samples' probabilities are not known",))
        kernels = [self._kernel(case, sample) for sample in case.samples]
        raw = math.fsum(w * k for w, k in zip(weights, kernels, strict=True)) / total
        return Finding(clipped(1 - raw), raw)

    def _kernel(self, case: Case, sample: str) -> float:
        before = f"{case.prompt}\n" if self.with_prompt and case.prompt else ""
        scores = pairwise([before + case.answer, before + sample], self.nli)
        both = (scores[0, 1] + scores[1, 0]) / 2
        return 1 - float(both[CONTRADICT] + both[NEUTRAL] / 2)
