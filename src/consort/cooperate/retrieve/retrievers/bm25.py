"""BM25: passages that have the query's words, rare ones weighing more (Robertson and Zaragoza 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

from consort.cooperate.retrieve.retrievers import retriever
from consort.core.params import Range
from consort.knowledge.evidence import Evidence, checked
from consort.knowledge.text_index import Index, TextIndex, check_index, opened


@retriever(paper="Robertson and Zaragoza 2009")
class Bm25:
    """Passages of `index` by BM25: `k1` bounds what repetition of a word counts, `b` how much long passages lose.

    A passage that has no word of the query is not found.
    """

    def __init__(
        self, *, index: Index, k1: Annotated[float, Range(0, 100)] = 1.5, b: Annotated[float, Range(0, 1)] = 0.75
    ) -> None:
        self.index, self.k1, self.b = index, k1, b
        check_index(index)

    @cached_property
    def texts(self) -> TextIndex:
        """The index, opened when it is first asked for."""
        return opened(self.index)

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        checked(queries, k)
        return [self.texts.bm25(query, k, k1=self.k1, b=self.b) for query in queries]
