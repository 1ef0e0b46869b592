"""How little the answers have to do with one another (2305.19187)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped
from consort.cooperate.detect.sampling.graph import degree
from consort.cooperate.detect.sampling.likeness import Matrix
from consort.cooperate.detect.sampling.over_answers import Answers
from consort.models.detecting import Case, Finding, PairScorer


@detector(needs=("samples",), paper="2305.19187")
class Degree(Judging):
    """U_Deg m / (m - 1): 0 where all m answers are alike, 1 where none is like another. `raw` is U_Deg.

    `measure` of likeness: rouge_l, words (Jaccard), encoder, or nli (`nli` is needed then).
    """

    def __init__(
        self,
        *,
        measure: Literal["rouge_l", "words", "encoder", "nli"] = "rouge_l",
        nli: PairScorer | None = None,
        encoder: str = "minilm",
    ) -> None:
        self.measure, self.nli, self.encoder = measure, nli, encoder
        self.answers = Answers(measure, nli, encoder)

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return self.answers.findings(cases, self._finding)

    def _finding(self, matrix: Matrix) -> Finding:
        raw, m = degree(matrix), len(matrix)
        return Finding(clipped(raw * m / (m - 1)), raw)
