"""SelfCheckGPT with BERTScore (2303.08896, section 5.1), against samples or against a source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, of_sentences, parts_of, shared_cost
from consort.cooperate.detect.encoder import TextEncoder, matched
from consort.cooperate.detect.sentences import sentences
from consort.models.detecting import Case, Finding, Quote


@detector(needs=("samples",), paper="2303.08896", example={"encoder": "tiny"})
class Bertscore(Judging):
    """1 less the likeness of each sentence to the sentence most like it, meaned over samples.

    Likeness of two sentences is BERTScore over the states of `encoder` (`minilm` or a folder), without rescaling: `of`
    F1, or the precision of the answer's tokens. `against: source` reads the source in place of the samples.
    """

    def __init__(
        self, *, encoder: str = "minilm", against: Literal["samples", "source"] = "samples",
        of: Literal["f1", "precision"] = "f1",
    ) -> None:  # fmt: skip
        self.encoder, self.against, self.of = encoder, against, of
        self.needs = (against,)
        self.reader = TextEncoder(encoder)

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        found = [self._finding(case) for case in cases]
        return shared_cost(found, f"encoder {self.encoder}", self.reader.spent())

    def _finding(self, case: Case) -> Finding:
        parts = parts_of(case)
        others = [case.source] if self.against == "source" else list(case.samples)
        pieces = [[s.text for s in sentences(text)] or [text] for text in others]
        self.reader.tokens(list(dict.fromkeys([p.text for p in parts] + [t for piece in pieces for t in piece])))
        doubts, evidence = [], []
        for part in parts:
            likest = [max(((self._likeness(part.text, t), t) for t in piece), key=lambda x: x[0]) for piece in pieces]
            doubts.append(clipped(1 - math.fsum(score for score, _ in likest) / len(likest)))
            evidence.append(tuple(Quote(t, score=score) for score, t in likest[:1]))
        return of_sentences(parts, doubts, evidence=evidence)

    def _likeness(self, a: str, b: str) -> float:
        one, other = self.reader.tokens([a, b])
        precision = float(np.mean(matched(one, other))) if len(one) else 0.0
        if self.of == "precision":
            return precision
        recall = float(np.mean(matched(other, one))) if len(other) else 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
