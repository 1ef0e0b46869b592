"""Pseudo-relevance feedback: the words of what is found first are asked for as well (RM3, Abdul-Jaleel et al. 2004).

The relevance model weighs the first passages by their scores, not by query likelihoods; the second search is BM25 with
weighted words. Words that stand in more than a tenth of all passages tell little and are not taken; of each passage its
`terms` most frequent others are, so that a long one says no more than a short one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from consort.cooperate.retrieve.asking import Costs, counted, members_of
from consort.cooperate.retrieve.retrievers import retriever
from consort.cooperate.retrieve.retrievers.bm25 import Bm25
from consort.core.params import Range
from consort.knowledge.evidence import Evidence, Retriever, checked
from consort.knowledge.postings import weights_of
from consort.knowledge.text_index import Index, TextIndex, check_index, opened

COMMON = 0.1
"""Words that more than this share of the passages have are not added."""


@retriever(paper="Abdul-Jaleel et al. 2004")
class Feedback:
    """Passages of `index` by BM25 (`k1`, `b`), the query widened by `terms` words of the first `documents` passages.

    `first` finds these (default: BM25 itself). `weight` is the share of the original query's words in the new one.
    """

    def __init__(
        self,
        *,
        index: Index,
        first: Retriever | None = None,
        documents: Annotated[int, Range(1, 1000)] = 10,
        terms: Annotated[int, Range(1, 1000)] = 10,
        weight: Annotated[float, Range(0, 1)] = 0.5,
        k1: Annotated[float, Range(0, 100)] = 0.9,
        b: Annotated[float, Range(0, 1)] = 0.4,
    ) -> None:
        self.index, self.first, self.documents, self.terms = index, first, documents, terms
        self.weight, self.k1, self.b = weight, k1, b
        check_index(index)

    @cached_property
    def texts(self) -> TextIndex:
        """The index, opened when it is first asked for."""
        return opened(self.index)

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return members_of(self.first)

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        return self.search_counted(queries, k)[0]

    def search_counted(self, queries: Sequence[str], k: int) -> tuple[list[list[Evidence]], list[Costs]]:
        checked(queries, k)
        first = self.first or Bm25(index=self.texts, k1=self.k1, b=self.b)
        seen, costs = counted(first, queries, self.documents)
        found = [
            self.texts.bm25_of(self.widened(query, hits), query, k, k1=self.k1, b=self.b)
            for query, hits in zip(queries, seen, strict=True)
        ]
        return found, costs

    def widened(self, query: str, hits: Sequence[Evidence]) -> dict[str, float]:
        """The words of the new query, weights summing to 1."""
        own = _shares(weights_of(self.texts.words.of(query)))
        told = self._relevance(hits)
        if not told:
            return own
        share = self.weight
        return {w: share * own.get(w, 0.0) + (1 - share) * told.get(w, 0.0) for w in sorted({*own, *told})}

    def _relevance(self, hits: Sequence[Evidence]) -> dict[str, float]:
        """P(w | R) = Σ_d P(w | d) P(d | Q), of the `terms` likeliest words."""
        low = min((hit.score for hit in hits), default=0.0)
        shift = max(0.0, -low)  # cosines may be negative
        total = sum(hit.score + shift for hit in hits)
        sums: dict[str, float] = {}
        for hit in hits:
            belief = (hit.score + shift) / total if total > 0 else 1 / len(hits)
            counts = self._told_by(hit.text)
            for word, count in counts.items():
                sums[word] = sums.get(word, 0.0) + belief * count / sum(counts.values())
        best = sorted(sums, key=lambda word: (-sums[word], word))[: self.terms]
        return _shares({word: sums[word] for word in best})

    def _told_by(self, text: str) -> dict[str, int]:
        """The most frequent words of a text that tell something, and how often each stands there."""
        counts = Counter(word for word in self.texts.words.of(text) if not word.isdigit())
        usable = sorted((word for word in counts if self._tells(word)), key=lambda word: (-counts[word], word))
        return {word: counts[word] for word in usable[: self.terms]}

    def _tells(self, word: str) -> bool:
        number = self.texts.postings.find(word)
        often = 0 if number is None else len(self.texts.postings.of(number)[0])
        return 0 < often <= max(1, COMMON * len(self.texts))


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights[word] for word in sorted(weights))
    return {word: weight / total for word, weight in weights.items()} if total else {}
