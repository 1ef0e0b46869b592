"""How alike all answers are, pair by pair (lexical similarity, Fomicheva et al. 2020; 2302.09664, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped
from consort.cooperate.detect.sampling.likeness import Matrix
from consort.cooperate.detect.sampling.over_answers import Answers
from consort.models.detecting import Case, Finding, PairScorer


@detector(needs=("samples",), paper="2302.09664")
class LexicalSimilarity(Judging):
    """1 less the mean likeness: `of` all pairs of answers (samples included), or of the answer to each sample.

    `measure`: rouge_l, words (Jaccard), encoder, or nli (`nli` is needed then). `raw` is the mean.
    """

    def __init__(
        self,
        *,
        measure: Literal["rouge_l", "words", "encoder", "nli"] = "rouge_l",
        of: Literal["all", "answer"] = "all",
        nli: PairScorer | None = None,
        encoder: str = "minilm",
    ) -> None:
        self.measure, self.of, self.nli, self.encoder = measure, of, nli, encoder
        self.answers = Answers(measure, nli, encoder)

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return self.answers.findings(cases, self._finding)

    def _finding(self, matrix: Matrix) -> Finding:
        m = len(matrix)
        values = matrix[0, 1:] if self.of == "answer" else matrix[np.triu_indices(m, 1)]
        raw = float(values.mean())
        return Finding(clipped(1 - raw), raw)
