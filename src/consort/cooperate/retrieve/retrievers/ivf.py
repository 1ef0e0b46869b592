"""Dense retrieval beyond a million passages: only the lists of vectors nearest to a query are read (IVF, by faiss)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Annotated

from consort.cooperate.retrieve.retrievers import retriever
from consort.cooperate.retrieve.retrievers.dense import Dense
from consort.core.params import Range
from consort.knowledge.evidence import Evidence
from consort.knowledge.inverted import Lists, faiss_module
from consort.knowledge.text_index import LISTS, Index


@retriever(paper="Sivic & Zisserman 2003")
class Ivf:
    """Passages of `index` by the cosine of their vectors with the query's, among those of `probes` lists.

    `consort index … --encoder minilm --lists N` writes the lists; for an index without them they are made when it is
    first asked, which takes a while. More `probes` find more and take longer; with as many as there are lists `dense`
    and `ivf` find the same. `encoder` and `prefix` as in `dense`. Raises MissingExtra without faiss.
    """

    def __init__(
        self,
        *,
        index: Index,
        probes: Annotated[int, Range(1, 1000000)] = 16,
        encoder: str = "",
        prefix: str = "",
    ) -> None:
        faiss_module()
        self.index, self.probes, self.encoder, self.prefix = index, probes, encoder, prefix
        self.dense = Dense(index=index, encoder=encoder, prefix=prefix)

    @cached_property
    def lists(self) -> Lists:
        """The lists of the index, opened or made when they are first asked for."""
        texts = self.dense.texts
        if texts.folder is not None and (texts.folder / LISTS).is_file():
            return Lists.open(texts.folder / LISTS)
        assert texts.vectors is not None
        return Lists.of(texts.vectors)

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        return self.dense.found(self._nearest, queries, k)

    def _nearest(self, vectors: object, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        find = partial(self.lists.nearest, probes=self.probes)
        return self.dense.texts.nearest(vectors, queries, k, find)  # type: ignore[arg-type]
