"""Asking a retriever: what its models cost is told, and one that fails gives nothing and says why."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from consort.core.counted import counted as told
from consort.core.errors import EnvironmentFailure
from consort.core.types import Usage
from consort.knowledge.evidence import Evidence, Retriever

_LOG = logging.getLogger(__name__)
Costs = list[tuple[Any, Mapping[str, Usage]]]
"""Which model was asked, and what that cost by name."""


@runtime_checkable
class CountedRetriever(Retriever, Protocol):
    """A retriever that has models at work."""

    @property
    def members(self) -> Sequence[Any]:
        """These models."""

    def search_counted(self, queries: Sequence[str], k: int) -> tuple[list[list[Evidence]], list[Costs]]:
        """As `search`, and for each query what its models did."""


@dataclass(slots=True)
class Found:
    """What there is for a query, what that cost, and, where there is nothing, why."""

    evidence: list[Evidence] = field(default_factory=list)
    costs: Costs = field(default_factory=list)
    failure: str = ""


def members_of(retriever: Any) -> tuple[Any, ...]:
    """The models at work in a retriever."""
    return tuple(getattr(retriever, "members", ()))


def counted(retriever: Retriever, queries: Sequence[str], k: int) -> tuple[list[list[Evidence]], list[Costs]]:
    """What a retriever finds, and what its models cost, of any retriever."""
    if isinstance(retriever, CountedRetriever):
        return retriever.search_counted(queries, k)
    return retriever.search(queries, k), [[] for _ in queries]


def search(retriever: Retriever, queries: Sequence[str], k: int) -> list[Found]:
    """Evidence for each query. Where the retriever cannot be reached, or finds nothing, `failure` says so.

    Where a batch fails each query is asked alone, for the fault may be that of one. What is the user's to mend, a
    damaged index or another encoder, is raised: answers without evidence would be wrong in silence.
    """
    failures: dict[str, int] = {}
    found = _found(retriever, queries, k, failures) if queries else []
    for why, number in failures.items():
        _LOG.warning("answered without evidence: %s (%s)", why, told(number, "query", "queries"))
    return found


def _found(retriever: Retriever, queries: Sequence[str], k: int, failures: dict[str, int]) -> list[Found]:
    """The same; what fails is counted in `failures`, for many queries may fail for one reason."""
    try:
        found, costs = counted(retriever, queries, k)
    except (EnvironmentFailure, OSError) as fault:
        if len(queries) > 1:
            return [one for query in queries for one in _found(retriever, [query], k, failures)]
        failures[str(fault)] = failures.get(str(fault), 0) + 1
        return [Found(failure=getattr(fault, "message", None) or str(fault))]
    return [
        Found(evidence, cost, "" if evidence else "nothing was found")
        for evidence, cost in zip(found, costs, strict=True)
    ]
