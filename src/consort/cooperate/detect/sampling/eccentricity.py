"""How far the answer lies from the centre of all answers (2305.19187)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped
from consort.cooperate.detect.sampling.graph import eccentricity
from consort.cooperate.detect.sampling.likeness import Matrix
from consort.cooperate.detect.sampling.over_answers import Answers
from consort.models.detecting import Case, Finding, PairScorer


@detector(needs=("samples",), paper="2305.19187")
class Eccentricity(Judging):
    """The answer's own distance (`raw`) over sqrt(2), the most that two texts' embeddings are apart.

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
        raw = float(eccentricity(matrix)[0])
        return Finding(clipped(raw / 2**0.5), raw)
