"""What is found for a query, and what finds it, for everything above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from consort.core.errors import BadParameter
from consort.core.prompts import check_list


@dataclass(frozen=True, slots=True)
class Evidence:
    """A text that was found for `query`.

    `id` names it within its index, `source` is the document it stands in, `span` where it begins and ends there in
    characters, (0, 0) where it has no place in a text. `score` is larger for what fits better; scores of different
    retrievers are not of one scale.
    """

    id: str
    text: str
    score: float
    source: str = ""
    span: tuple[int, int] = (0, 0)
    query: str = ""

    def described(self) -> dict[str, Any]:
        """Plain values, for `Completion.details` and JSON."""
        return {
            "id": self.id,
            "text": self.text,
            "score": round(self.score, 6),
            "source": self.source,
            "span": list(self.span),
            "query": self.query,
        }


@runtime_checkable
class Retriever(Protocol):
    """Finds evidence: for each query at most `k` pieces, best first, no id twice; of equal scores the lower id first.

    Ids are ordered as people order them: "d2" is lower than "d10".
    """

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]: ...


def checked(queries: Sequence[str], k: int) -> None:
    """Raise BadData for a single text in place of a list of queries, BadParameter for a `k` below 1."""
    check_list(queries, "queries")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise BadParameter(f"{k!r} is no number of pieces of evidence", field="k", hint="a whole number, 1 or more")
