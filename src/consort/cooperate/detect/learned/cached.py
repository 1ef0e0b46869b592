"""A score that a file already has of each answer, as a detector."""

from __future__ import annotations

from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging
from consort.models.detecting import Case, Finding


@detector(example={"column": "score"})
class Cached(Judging):
    """`details[column]` of a case, laid into (0, 1) without changing its order; `raw` is the number itself.

    `better`: whether larger numbers speak for an answer. A case without the number is not judged.
    """

    def __init__(self, column: str, *, better: bool = True) -> None:
        self.column, self.better = column, better

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return [self._finding(case.details.get(self.column)) for case in cases]

    def _finding(self, value: object) -> Finding:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            return Finding(None, notes=(f"there is no number {self.column!r}",))
        half = value / (1 + abs(value)) / 2
        return Finding(0.5 - half if self.better else 0.5 + half, float(value))
