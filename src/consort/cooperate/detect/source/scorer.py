"""A classifier of (source, answer) as a detector: the probability of its label "consistent", whatever it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, of_sentences, parts_of, shared_cost
from consort.cooperate.detect.pairs.nli import ENTAIL
from consort.models.detecting import Case, Finding, PairScorer


@detector(needs=("source",), example={"nli": "fake"})
class Scorer(Judging):
    """1 less P(consistent) of the whole source and each sentence, or (`of: answer`) the whole answer, by a pair scorer.

    For cross-encoders trained on pairs of document and claim; two labels are enough.
    """

    def __init__(
        self, nli: PairScorer, *, of: Literal["sentences", "answer"] = "sentences",
        joining: Literal["mean", "max"] = "mean",
    ) -> None:  # fmt: skip
        self.nli, self.of, self.joining = nli, of, joining

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        rows = [(case, parts_of(case)) for case in cases]
        if self.of == "answer":
            scores = self.nli.score([case.source for case in cases], [case.answer for case in cases])
            found = [Finding(clipped(1 - row[ENTAIL]), float(row[ENTAIL])) for row in scores]
            return shared_cost(found, self.nli.name, self.nli.spent())
        pairs = [(case.source, part.text) for case, parts in rows for part in parts]
        each = iter(self.nli.score([a for a, _ in pairs], [b for _, b in pairs])[:, ENTAIL].tolist())
        found = [of_sentences(parts, [clipped(1 - next(each)) for _ in parts], self.joining) for _, parts in rows]
        return shared_cost(found, self.nli.name, self.nli.spent())
