"""The share of samples that say just what the answer says (exact match rate, 2504.19254)."""

from __future__ import annotations

from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging
from consort.models.detecting import Case, Finding


@detector(needs=("samples",), paper="2504.19254")
class ExactMatch(Judging):
    """1 less the share of samples equal to the answer; `fold` compares without case and outer white space.

    `raw` is the share.
    """

    def __init__(self, *, fold: bool = False) -> None:
        self.fold = fold

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        rates = [sum(self._key(s) == self._key(c.answer) for s in c.samples) / len(c.samples) for c in cases]
        return [Finding(1 - rate, rate) for rate in rates]

    def _key(self, text: str) -> str:
        return text.strip().casefold() if self.fold else text
