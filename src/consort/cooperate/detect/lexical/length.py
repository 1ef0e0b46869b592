"""The length of an answer: the baseline that a detector has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging
from consort.cooperate.detect.words import words_of
from consort.core.params import Range
from consort.models.detecting import Case, Finding


@detector()
class Length(Judging):
    """n / (n + typical) of an answer of n words: long answers are doubted. Larger `typical` changes no order."""

    def __init__(self, *, typical: Annotated[float, Range(1, 1000000)] = 50.0) -> None:
        self.typical = typical

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        counts = [len(words_of(case.answer)) for case in cases]
        return [Finding(n / (n + self.typical), raw=float(n)) for n in counts]
