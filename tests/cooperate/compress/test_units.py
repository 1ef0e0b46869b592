"""Units cover their text, cut no grapheme, and are what their names say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.cooperate.compress.units import MOST, paragraphs, phrases, sentences, whole_graphemes, words

CUTS = (words, phrases, sentences, paragraphs)


@pytest.mark.parametrize("cut", CUTS)
@given(text=st.text(max_size=60))
def test_units_cover_the_text(cut, text):
    spans = cut(text)
    assert "".join(text[a:b] for a, b in spans) == text
    assert all(a < b for a, b in spans)
    assert whole_graphemes(text, spans) == spans


def shown(cut, text):
    return [text[a:b] for a, b in cut(text)]


def test_words_of_many_scripts():
    assert shown(words, "  don't,\nstop-gap") == ["  don't", ",", "\nstop-gap"]
    assert shown(words, "日本語") == ["日", "本", "語"]
    assert shown(words, "a👩‍👩‍👧 e\u0301") == ["a", "👩‍👩‍👧", " e\u0301"]
    assert max(b - a for a, b in words("x" * 1000)) == MOST


def test_sentences_end_at_marks_and_lines():
    assert shown(sentences, "He said “No!” Mr. A. Bo left... then\nmore") == [
        "He said “No!” ",
        "Mr. A. Bo left... ",
        "then\n",
        "more",
    ]
    assert shown(sentences, "これはペン。あれも。") == ["これはペン。", "あれも。"]


def test_paragraphs_keep_their_blank_lines():
    assert shown(paragraphs, "a\nb\r\n\r\nc\n \n\nd") == ["a\nb\r\n\r\n", "c\n \n\n", "d"]
