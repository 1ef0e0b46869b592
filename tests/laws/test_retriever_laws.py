"""The laws of retrievers find what breaks them."""

from __future__ import annotations

import pytest

from consort.knowledge.evidence import Evidence
from consort.testing import retriever_laws as laws


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
