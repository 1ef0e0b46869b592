"""Every registered retriever keeps the laws; a new file is tested because it exists."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consort.cooperate.retrieve.retrievers import retrievers
from consort.knowledge.evidence import Evidence
from consort.testing import retriever_laws as laws
from consort.testing.built import exempt


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", list(retrievers))
def test_laws(name: str, law: Callable[[str], None]) -> None:
    reason = exempt(retrievers, name).get(law.__name__)
    if reason:
        pytest.skip(reason)
    law(name)


def test_one_call_runs_them_all() -> None:
    assert laws.check("bm25") == [law.__name__ for law in laws.LAWS]


class Sloppy:
    """Finds the first documents, whatever is asked."""

    def __init__(self, documents) -> None:
        self.documents = documents

    def search(self, queries, k):
        return [[Evidence(id, text, 1.0) for id, text in self.documents[: k + 1]] for _ in queries]


@pytest.mark.parametrize(
    "law", [laws.the_best_come_first, laws.order_of_documents_is_free, laws.odd_queries_are_answered]
)
def test_laws_find_what_breaks_them(law) -> None:
    with pytest.raises(AssertionError):
        law(Sloppy)
