"""The share of an answer's n-grams that the source does not have (the precision of ROUGE-N, Lin 2004, turned round)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, of_sentences, parts_of
from consort.cooperate.detect.words import ngrams, words_of
from consort.core.params import Range
from consort.models.detecting import Case, Finding


@detector(needs=("source",))
class NgramPrecision(Judging):
    """The share of the answer's runs of `n` words that stand nowhere in the source.

    Words are compared by their first `letters` (0: whole), a plain way to take "walks" and "walked" for one. `raw` is
    the precision. A sentence of fewer than n words is judged by the longest runs that it has.
    """

    def __init__(self, *, n: Annotated[int, Range(1, 8)] = 2, letters: Annotated[int, Range(0, 100)] = 0) -> None:
        self.n, self.letters = n, letters

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return [self._finding(case) for case in cases]

    def _finding(self, case: Case) -> Finding:
        source, known = self._words(case.source), {}
        parts = parts_of(case)
        missed, total, doubts = 0, 0, []
        for part in parts:
            words = self._words(part.text)
            n = min(self.n, max(1, len(words)))
            if n not in known:
                known[n] = frozenset(ngrams(source, n))
            grams = ngrams(words, n)
            absent = sum(gram not in known[n] for gram in grams)
            missed, total = missed + absent, total + len(grams)
            doubts.append(absent / len(grams) if grams else 0.0)
        doubt = missed / total if total else 0.0
        found = of_sentences(parts, doubts)
        return Finding(doubt, 1 - doubt, found.spans)

    def _words(self, text: str) -> list[str]:
        words = words_of(text)
        return [word[: self.letters] for word in words] if self.letters else words
