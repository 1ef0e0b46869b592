"""Evidence beside an answer: the query's words are marked, and nothing that a document says is markup."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from consort.report.views.evidence import evidence, marked


def test_pieces_are_shown_with_source_and_marked_words() -> None:
    found = [
        {"id": "d1", "text": "The whale is blue.", "source": "sea.txt", "score": 1.25, "query": "which whale is it"}
    ]
    shown = str(evidence(None, found))
    assert "1 piece of evidence" in shown
    assert "sea.txt" in shown
    assert shown.count("whale") == 1
    assert str(marked("whale", "the whale")) in shown
    assert str(marked("is", "it is")) == "is"


def test_a_document_is_no_markup() -> None:
    shown = str(evidence(None, [{"id": "<i>", "text": "</details><script>x()</script>", "query": "script"}]))
    assert "<script>" not in shown
    assert "<i>" not in shown
    assert evidence(None, []) is None
    with pytest.raises(ValidationError):
        evidence(None, [{"text": 3}])
