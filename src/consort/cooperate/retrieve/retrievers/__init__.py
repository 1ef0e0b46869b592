"""Retrievers, one a file: what finds evidence for a query (`consort.knowledge.Retriever`).

    @retriever()
    class Bm25:
        def __init__(self, *, index: Index, k1: Annotated[float, Range(0, 100)] = 1.5) -> None: ...
        def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]: ...

A retriever keeps its arguments under the parameters' own names, as every strategy does, so that plans can be read back.
One that has models at work names them in `members` and tells what they cost by `search_counted` (see `asking`).
Importing this imports no numpy.
"""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

retrievers: Registry[Any] = Registry(
    "retriever", "consort.cooperate.retrieve.retrievers", decorator="retriever", produces="retriever"
)
retriever = retrievers.registrar()
"""The decorator that makes a class of this package a retriever: `retriever: {bm25: {index: FOLDER}}` in plans."""
