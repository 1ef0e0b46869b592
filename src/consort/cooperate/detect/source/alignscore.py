"""AlignScore (2305.16739): is each sentence of an answer entailed by some chunk of the source?

Released code divides the number of sentences by a number of chunks that it takes from words, so that chunks are uneven
and a short one may stay at the end; ours packs whole sentences to 350 words (`reference` does as released).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, of_sentences, shared_cost
from consort.cooperate.detect.pairs.nli import ENTAIL
from consort.cooperate.detect.source.chunks import matrices
from consort.core.params import Range
from consort.models.detecting import Case, Finding, PairScorer, Quote


@detector(needs=("source",), paper="2305.16739", example={"nli": "fake"})
class Alignscore(Judging):
    """1 less P(entailment), the largest over chunks, `joining` over sentences: mean, or `max` of the doubts.

    `raw` is the paper's score for `mean` (its section 3.2). The evidence of a sentence is the chunk that it follows
    from most.
    """

    def __init__(
        self,
        nli: PairScorer,
        *,
        words: Annotated[int, Range(1, 100000)] = 350,
        joining: Literal["mean", "max"] = "mean",
        reference: bool = False,
    ) -> None:
        self.nli, self.words, self.joining, self.reference = nli, words, joining, reference

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        found = []
        for one in matrices(cases, self.nli, "words", words=self.words, uneven=self.reference):
            entail = one.scores[..., ENTAIL]
            best = entail.max(0)
            quotes = [(Quote(one.chunks[int(entail[:, j].argmax())], score=float(best[j])),) for j in range(len(best))]
            doubts = [clipped(1 - value) for value in best.tolist()]
            found.append(of_sentences(one.parts, doubts, self.joining, raw=float(best.mean()), evidence=quotes))
        return shared_cost(found, self.nli.name, self.nli.spent())
