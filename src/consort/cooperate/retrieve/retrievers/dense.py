"""Dense retrieval: passages whose vectors lie nearest to the query's (DPR, 2004.04906), exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from consort.cooperate.retrieve.encoding import Encoder, check_encoder, encoder_of
from consort.cooperate.retrieve.retrievers import retriever
from consort.knowledge.evidence import Evidence, checked
from consort.knowledge.text_index import Index, TextIndex, check_index, opened

Nearest = Callable[[Float[np.ndarray, "query size"], Sequence[str], int], list[list[Evidence]]]


@retriever(paper="2004.04906")
class Dense:
    """Passages of `index` by the cosine of their vectors with the query's.

    The index says which encoder it was made with; `encoder` names it again where its folder has moved (`minilm`, or a
    folder). An encoder with other weights is refused. `prefix` stands before each query, for encoders that want one.
    """

    def __init__(self, *, index: Index, encoder: str = "", prefix: str = "") -> None:
        self.index, self.encoder, self.prefix = index, encoder, prefix
        check_index(index)
        check_encoder(index, encoder)

    @cached_property
    def texts(self) -> TextIndex:
        """The index, opened when it is first asked for."""
        return opened(self.index)

    @cached_property
    def reader(self) -> Encoder:
        """The encoder, read when it is first asked for."""
        return encoder_of(self.texts, self.encoder)

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        return self.found(self.texts.nearest, queries, k)

    def found(self, nearest: Nearest, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        """What `nearest` gives for the vectors of the queries that say something."""
        checked(queries, k)
        asked = [i for i, query in enumerate(queries) if query.strip()]
        if not asked or not len(self.texts):
            return [[] for _ in queries]
        vectors = self.reader.embed([self.prefix + queries[i] for i in asked])
        found = dict(zip(asked, nearest(vectors, [queries[i] for i in asked], k), strict=True))
        return [found.get(i, []) for i in range(len(queries))]
