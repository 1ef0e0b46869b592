"""Facts around what a query names: entities are linked, their neighbourhood is read, the nearest facts are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

from consort.cooperate.retrieve.retrievers import retriever
from consort.core.params import Range
from consort.knowledge.evidence import Evidence, checked
from consort.knowledge.graph import Graph as Triples
from consort.knowledge.graph import GraphIndex, Triple, opened_graph
from consort.knowledge.passages import Passage
from consort.knowledge.text_index import TextIndex, read_header


@retriever()
class Graph:
    """Facts of `graph` within `hops` steps of the entities that a query names, at most `limit` for each of them.

    Facts are ranked by BM25 of their words with the query, of equals the nearer to an entity first. A query that names
    no entity, as it is written or nearly so, finds nothing.
    """

    def __init__(
        self,
        *,
        graph: GraphIndex,
        hops: Annotated[int, Range(1, 10)] = 2,
        limit: Annotated[int, Range(1, 100000)] = 200,
    ) -> None:
        self.graph, self.hops, self.limit = graph, hops, limit
        check_graph(graph)

    @cached_property
    def triples(self) -> Triples:
        """The graph, opened when it is first asked for."""
        return opened_graph(self.graph)

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        checked(queries, k)
        return [self._search(query, k) for query in queries]

    def _search(self, query: str, k: int) -> list[Evidence]:
        near: dict[Triple, int] = {}
        for entity in self.triples.link(query):
            for triple, distance in self.triples.hops(entity, self.hops, self.limit):
                near[triple] = min(distance, near.get(triple, distance))
        facts = sorted(near, key=lambda triple: (near[triple], triple))
        index = TextIndex.of(Passage(str(i), triple.text) for i, triple in enumerate(facts))
        scores = {int(hit.id): hit.score for hit in index.bm25(query, max(1, len(facts)))} if facts else {}
        order = sorted(range(len(facts)), key=lambda i: (-scores.get(i, 0.0), i))[:k]
        return [Evidence(facts[i].id, facts[i].text, scores.get(i, 0.0), facts[i].source, (0, 0), query) for i in order]


def check_graph(graph: GraphIndex) -> None:
    """Raise for a folder that holds no graph; only its header is read."""
    if not isinstance(graph, Triples):
        read_header(Path(graph), "graph")
