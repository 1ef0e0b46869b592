"""Numbers and names of an answer that its source does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Joining, Judging, joined, of_sentences, parts_of
from consort.cooperate.detect.words import names_of, numbers_of, words_of
from consort.models.detecting import Case, Finding


@detector(needs=("source",))
class Mismatch(Judging):
    """The share of a sentence's numbers and names that stand nowhere in the source; 0 of a sentence without any.

    `of`: numbers, names (capitalised words inside a sentence), or both. `raw` counts what is missing.
    """

    def __init__(self, *, of: Literal["both", "numbers", "names"] = "both", joining: Joining = "mean") -> None:
        self.of, self.joining = of, joining

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return [self._finding(case) for case in cases]

    def _finding(self, case: Case) -> Finding:
        known = set(words_of(case.source)) | set(numbers_of(case.source))
        parts, doubts, missed, total = parts_of(case), [], 0, 0
        for part in parts:
            things = self._things(part.text)
            absent = sum(thing not in known for thing in things)
            doubts.append(absent / len(things) if things else 0.0)
            missed, total = missed + absent, total + len(things)
        found = of_sentences(parts, doubts, self.joining)
        whole = (missed / total if total else 0.0) if self.joining == "mean" else joined(doubts, self.joining)
        return Finding(whole, float(missed), found.spans)

    def _things(self, text: str) -> list[str]:
        numbers = numbers_of(text) if self.of != "names" else []
        names = [name for name in names_of(text) if not name[0].isdigit()] if self.of != "numbers" else []
        return [*numbers, *names]
