"""SelfCheckGPT with n-grams (2303.08896, section 5.4): how improbable a sentence is among samples of the same model.

With the answers of other models as the samples the same counts say what the others would not have said.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, bounded, of_sentences, parts_of
from consort.cooperate.detect.words import Gram, counted_ngrams, ngrams, words_of
from consort.core.params import Range
from consort.models.detecting import Case, Finding


@detector(needs=("samples",), paper="2303.08896")
class SelfcheckNgram(Judging):
    """-log p of a sentence's words under an n-gram model of the answer and its samples.

    Counts are those of the answer and all samples, lower-cased, plus `smoothing` for each known word. Unigrams:
    p(w) = (c(w) + k) / (N + k V). Bigrams: p(w | v) = (c(v w) + k p(w) V) / (c(v) + k V), which falls back to
    unigrams. `of` takes a sentence's mean (`avg`) or largest (`max`) -log p. The answer's `raw` is the mean over
    sentences (`avg`) or words of all (`max` of each, then the mean), as released; its doubt is 1 - exp(-raw).
    """

    def __init__(
        self,
        *,
        n: Literal[1, 2] = 1,
        of: Literal["avg", "max"] = "avg",
        smoothing: Annotated[float, Range(0, 1000)] = 0.0,
    ) -> None:
        self.n, self.of, self.smoothing = n, of, smoothing

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return [self._finding(case) for case in cases]

    def _finding(self, case: Case) -> Finding:
        model = _Counts([case.answer, *case.samples], self.n, self.smoothing)
        parts, found = parts_of(case), []
        for part in parts:
            surprise = [-math.log(p) for p in model.probabilities(words_of(part.text))] or [0.0]
            found.append(max(surprise) if self.of == "max" else math.fsum(surprise) / len(surprise))
        raw = math.fsum(found) / len(found)
        spans = of_sentences(parts, [bounded(x) for x in found]).spans
        return Finding(bounded(raw), raw, spans, details={"sentences": tuple(found)})


class _Counts:
    """Counts of words, and of pairs of words, in some texts."""

    def __init__(self, texts: Sequence[str], n: int, smoothing: float) -> None:
        self.n, self.k = n, smoothing
        self.words = counted_ngrams(texts, 1)
        self.pairs = counted_ngrams(texts, 2) if n == 2 else Counter[Gram]()
        self.firsts = Counter[Gram]()
        for (first, _), count in self.pairs.items():
            self.firsts[(first,)] += count
        self.total, self.size = self.words.total(), len(self.words)

    def probabilities(self, words: Sequence[str]) -> list[float]:
        """Of each word; the words are those of one of the texts, so that none is 0."""
        single = [(self.words[(w,)] + self.k) / (self.total + self.k * self.size) for w in words]
        if self.n == 1 or not words:
            return single
        found = single[:1]
        for pair, p in zip(ngrams(words, 2), single[1:], strict=True):
            weight = self.k * self.size
            before = self.firsts[pair[:1]] + weight
            found.append((self.pairs[pair] + weight * p) / before if before else p)
        return found
