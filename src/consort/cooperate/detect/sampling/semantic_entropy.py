"""Semantic entropy (2302.09664; Farquhar et al., Nature 2024): the entropy of what answers mean.

Divided by its largest value and taken from 1 it is uqlm's semantic negentropy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, with_costs
from consort.cooperate.detect.encoder import TextEncoder
from consort.cooperate.detect.sampling.clusters import clusters
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.models.detecting import Case, Finding, PairScorer


@detector(needs=("samples",), paper="2302.09664")
class SemanticEntropy(Judging):
    """H / log n of the clusters of the answer and its samples, n texts in all; `raw` is H in nats.

    `by`: equality, nli (`nli` then is needed), or encoder (cosine of at least `threshold`). `weights`: each text counts
    1 (the discrete estimate), or its length-normalised probability, from the log-probabilities of answer and samples.
    """

    def __init__(
        self,
        *,
        by: Literal["equality", "nli", "encoder"] = "equality",
        nli: PairScorer | None = None,
        weights: Literal["count", "probability"] = "count",
        encoder: str = "minilm",
        threshold: Annotated[float, Range(-1, 1)] = 0.8,
    ) -> None:
        self.by, self.nli, self.weights, self.encoder, self.threshold = by, nli, weights, encoder, threshold
        if by == "nli" and nli is None:
            raise BadParameter("clusters by nli need it", field="nli", hint="nli: FOLDER of a checkpoint, or lab:nli")
        if weights == "probability":
            self.needs = ("samples", "logprobs", "sample_logprobs")
        self.reader = TextEncoder(encoder) if by == "encoder" else None

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        found = [self._finding(case) for case in cases]
        cost = {self.nli.name: self.nli.spent()} if self.nli is not None and self.by == "nli" else {}
        if self.reader is not None:
            cost[f"encoder {self.encoder}"] = self.reader.spent()
        return with_costs(found, cost)

    def _finding(self, case: Case) -> Finding:
        texts = [case.answer, *case.samples]
        groups = clusters(texts, self.by, nli=self.nli, encoder=self.reader, threshold=self.threshold)
        weights = [1.0] * len(texts)
        if self.weights == "probability":
            rows = [case.logprobs or (), *(case.sample_logprobs or ())]
            weights = [math.exp(math.fsum(row) / max(1, len(row))) for row in rows]
        raw = entropy([math.fsum(w for w, g in zip(weights, groups, strict=True) if g == k) for k in set(groups)])
        doubt = clipped(raw / math.log(len(texts))) if len(texts) > 1 else 0.0
        return Finding(doubt, raw, details={"clusters": tuple(groups)})


def entropy(weights: Sequence[float]) -> float:
    """Entropy (nats) of weights in proportion."""
    total = math.fsum(weights)
    shares = [w / total for w in weights if w > 0] if total > 0 else []
    return abs(-math.fsum(p * math.log(p) for p in shares))
