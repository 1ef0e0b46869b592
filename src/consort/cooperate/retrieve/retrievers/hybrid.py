"""Several retrievers as one: their rankings are fused (reciprocal ranks, Cormack et al. 2009), or their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from consort.cooperate.retrieve.asking import Costs, counted, members_of
from consort.cooperate.retrieve.encoding import check_encoder
from consort.cooperate.retrieve.retrievers import retriever
from consort.core.counted import counted as told
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.knowledge.evidence import Evidence, Retriever, checked
from consort.knowledge.order import id_key
from consort.knowledge.text_index import Index


@retriever(paper="Cormack et al. 2009")
class Hybrid:
    """`retrievers` fused; without any, BM25 and vectors of `index`, which is all that most want.

    `by` rank: the sum over retrievers of weight / (`smooth` + rank), ranks from 1, nothing from one that has not found
    a passage among its first `depth` (at least k). `by` score: the weighted mean of scores, each retriever's own scaled
    to [0, 1] over what it found, 0 from one that has not found it. `weights`: one for each (default: equal).
    """

    def __init__(
        self,
        *,
        index: Index | None = None,
        retrievers: Sequence[Retriever] | None = None,
        by: Literal["rank", "score"] = "rank",
        weights: Sequence[float] | None = None,
        smooth: Annotated[float, Range(0, 100000)] = 60.0,
        depth: Annotated[int, Range(1, 100000)] = 100,
    ) -> None:
        self.index, self.retrievers, self.by, self.weights = index, retrievers, by, weights
        self.smooth, self.depth = smooth, depth
        self.parts: tuple[Retriever, ...] = tuple(retrievers or ()) if index is None else _of_index(index)
        if (index is not None and retrievers) or not self.parts:
            raise BadParameter("needs an index or retrievers, not both", field="index", hint="give one of the two")
        if weights is not None and (len(weights) != len(self.parts) or min(weights) < 0 or not any(weights)):
            hint = f"{told(len(self.parts), 'number')} of at least 0, not all 0"
            raise BadParameter(f"{list(weights)} are no weights of retrievers", field="weights", hint=hint)

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return tuple({id(model): model for part in self.parts for model in members_of(part)}.values())

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        return self.search_counted(queries, k)[0]

    def search_counted(self, queries: Sequence[str], k: int) -> tuple[list[list[Evidence]], list[Costs]]:
        checked(queries, k)
        found = [counted(part, queries, max(k, self.depth)) for part in self.parts]
        weights = list(self.weights or [1.0] * len(self.parts))
        score = by_rank if self.by == "rank" else by_score
        fused = [
            _ranked(score([hits[q] for hits, _ in found], weights, self.smooth), [hits[q] for hits, _ in found], k)
            for q in range(len(queries))
        ]
        return fused, [[part for _, costs in found for part in costs[q]] for q in range(len(queries))]


def _of_index(index: Index) -> tuple[Retriever, Retriever]:
    from consort.cooperate.retrieve.retrievers.bm25 import Bm25
    from consort.cooperate.retrieve.retrievers.dense import Dense

    check_encoder(index)
    return Bm25(index=index), Dense(index=index)


def by_rank(rankings: Sequence[Sequence[Evidence]], weights: Sequence[float], smooth: float) -> dict[str, float]:
    """Reciprocal ranks: Σ weight / (smooth + rank), by id.

    >>> a, b = Evidence("a", "", 2.0), Evidence("b", "", 1.0)
    >>> {id: round(score, 6) for id, score in by_rank([[a, b], [a]], [1, 1], 60).items()}
    {'a': 0.032787, 'b': 0.016129}
    """
    sums: dict[str, list[float]] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, one in enumerate(ranking, 1):
            sums.setdefault(one.id, []).append(weight / (smooth + rank))
    return {id: sum(sorted(parts)) for id, parts in sums.items()}


def by_score(rankings: Sequence[Sequence[Evidence]], weights: Sequence[float], smooth: float) -> dict[str, float]:
    """Weighted mean of scores, each ranking's scaled to [0, 1] from lowest to highest; `smooth` plays no part."""
    sums: dict[str, list[float]] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        scores = [one.score for one in ranking]
        low, width = min(scores, default=0.0), max(scores, default=0.0) - min(scores, default=0.0)
        for one in ranking:
            part = 1.0 if width == 0 else (one.score - low) / width
            sums.setdefault(one.id, []).append(weight * part)
    return {id: sum(sorted(parts)) / sum(weights) for id, parts in sums.items()}


def _ranked(scores: dict[str, float], rankings: Sequence[Sequence[Evidence]], k: int) -> list[Evidence]:
    """The k best, each as the first retriever that found it tells it, with the fused score."""
    texts: dict[str, Evidence] = {}
    for ranking in rankings:
        for one in ranking:
            texts.setdefault(one.id, one)
    order = sorted(scores, key=lambda id: (-scores[id], id_key(id)))[:k]
    return [_with_score(texts[id], scores[id]) for id in order]


def _with_score(one: Evidence, score: float) -> Evidence:
    return Evidence(one.id, one.text, score, one.source, one.span, one.query)
