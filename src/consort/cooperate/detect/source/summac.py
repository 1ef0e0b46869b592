"""SummaC zero-shot (2111.09525): entailment less contradiction, sentence by sentence of the source.

The trained variant (Conv) is not here; there is no cap on the number of source sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, of_sentences, shared_cost
from consort.cooperate.detect.pairs.nli import CONTRADICT, ENTAIL
from consort.cooperate.detect.source.chunks import matrices
from consort.models.detecting import Case, Finding, PairScorer, Quote


@detector(needs=("source",), paper="2111.09525", example={"nli": "fake"})
class Summac(Judging):
    """(1 - s) / 2 with s = max over chunks of P(entailment) less max over chunks of P(contradiction), each separately.

    `across` the chunks max, mean or min; `joining` over sentences mean or the largest doubt; chunks are sentences or
    paragraphs. `raw` is the mean of s, in [-1, 1].
    """

    def __init__(
        self,
        nli: PairScorer,
        *,
        chunks: Literal["sentences", "paragraphs"] = "sentences",
        across: Literal["max", "mean", "min"] = "max",
        joining: Literal["mean", "max"] = "mean",
    ) -> None:
        self.nli, self.chunks, self.across, self.joining = nli, chunks, across, joining

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        across: Any = {"max": np.max, "mean": np.mean, "min": np.min}[self.across]
        found = []
        for one in matrices(cases, self.nli, self.chunks):
            entail, contradict = one.scores[..., ENTAIL], one.scores[..., CONTRADICT]
            s = across(entail, axis=0) - across(contradict, axis=0)
            decided = entail - contradict
            quotes = [_quote(one.chunks, decided[:, j]) for j in range(len(s))]
            doubts = [clipped((1 - value) / 2) for value in s.tolist()]
            found.append(of_sentences(one.parts, doubts, self.joining, raw=float(s.mean()), evidence=quotes))
        return shared_cost(found, self.nli.name, self.nli.spent())


def _quote(chunks: Sequence[str], decided: np.ndarray) -> tuple[Quote, ...]:
    """The chunk that says most for or against a sentence."""
    at = int(np.abs(decided).argmax())
    return (Quote(chunks[at], score=float(decided[at])),)
