"""Texts cut into units that are kept or dropped whole: words, phrases, sentences, paragraphs.

Units of a text are sorted, disjoint and cover it: white space belongs to the word after it, and to the sentence or the
paragraph before it. No unit ends inside a grapheme (a letter with its accents, an emoji of several characters).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from consort.cooperate.compress.parts import Span

Unit = Literal["token", "word", "phrase", "sentence"]

MOST = 48
"""Characters of the longest word; what is longer (a text without spaces, a number of a thousand digits) is cut."""

PHRASE = 8
"""Words of the longest phrase."""

_WORD = re.compile(r"\s*(?:\w+(?:['’\-.,]\w+)*|[^\w\s])|\s+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+[」』”]*|\n")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|cf|fig|eq|no|vol|pp|jr|sr|inc|ltd|co|u\.s|u\.k)|\b[A-Z])\.$", re.I
)
_JOINER, _SELECTORS = "\u200d", ("\ufe0e", "\ufe0f")

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about above after again all also am an and any are as at be because been before being below between both but
        by can could did do does doing down during each few for from further had has have having he her here hers him
        his how i if in into is it its itself just may me might more most must my no nor not now of off on once only or
        other our out over own same shall she should so some such than that the their them then there these they this
        those through to too under until up very was we were what when where which while who whom why will with would
        you your
        """,
    )
)


def words(text: str) -> list[Span]:
    """Words and marks with the white space before them; letters of scripts without spaces each by themselves.

    >>> text = "It's 3.5, no?"
    >>> [text[a:b] for a, b in words(text)]
    ["It's", ' 3.5', ',', ' no', '?']
    """
    found: list[Span] = []
    for match in _WORD.finditer(text):
        found += _pieces(text, Span(*match.span()))
    return whole_graphemes(text, found)


def _pieces(text: str, word: Span) -> list[Span]:
    """A word, cut where it is too long, and between letters of scripts that write no spaces."""
    cuts = {word.start, word.end, *range(word.start + MOST, word.end, MOST)}
    if _UNSPACED.search(text, word.start, word.end):
        cuts |= {m.end() for m in _UNSPACED.finditer(text, word.start, word.end)}
        cuts |= {
            m.start() for m in _UNSPACED.finditer(text, word.start, word.end) if text[word.start : m.start()].strip()
        }
    ordered = sorted(cuts)
    return [Span(a, b) for a, b in zip(ordered, ordered[1:], strict=False)]


def whole_graphemes(text: str, spans: Sequence[Span]) -> list[Span]:
    """Spans that cover the text, those joined between which a grapheme would be cut."""
    found: list[Span] = []
    for span in spans:
        if span.end == span.start:
            continue
        if found and continues(text, span.start):
            found[-1] = Span(found[-1].start, span.end)
        else:
            found.append(span)
    return found


def continues(text: str, at: int) -> bool:
    """Whether the character at `at` belongs to the grapheme of the one before."""
    if not 0 < at < len(text):
        return False
    before, here = text[at - 1], text[at]
    if here < "\u0300":
        return before == "\r" and here == "\n"
    if here == _JOINER or before == _JOINER or here in _SELECTORS or "\U0001f3fb" <= here <= "\U0001f3ff":
        return True
    if unicodedata.category(here) in ("Mn", "Me", "Mc") or "\U000e0020" <= here <= "\U000e007f":
        return True
    if _is_flag(here) and _is_flag(before):
        run = at
        while run > 0 and _is_flag(text[run - 1]):
            run -= 1
        return (at - run) % 2 == 1
    return "\u1160" <= here <= "\u11ff" and "\u1100" <= before <= "\u11ff"  # Hangul written in letters


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def phrases(text: str) -> list[Span]:
    """Runs of function words with the content words after them, ended by marks; a chunker without a grammar.

    >>> text = "The old man went to the green door, slowly."
    >>> [text[a:b] for a, b in phrases(text)]
    ['The old man went', ' to the green door', ',', ' slowly', '.']
    """
    found: list[Span] = []
    count, content = 0, False
    for span in words(text):
        word = text[span.start : span.end].strip()
        is_word = bool(word) and (word[0].isalnum() or word[0] == "_")
        is_stop = word.lower() in STOP_WORDS
        if count and is_word and not (content and is_stop) and count < PHRASE:
            found[-1] = Span(found[-1].start, span.end)
            count, content = count + 1, content or not is_stop
        else:
            found.append(span)
            count, content = (1, not is_stop) if is_word else (0, False)
    return found


def sentences(text: str) -> list[Span]:
    """Sentences with the white space after them; a line break ends one, an abbreviation does not.

    >>> text = "Dr. No came. He left!\\nWhy?"
    >>> [text[a:b] for a, b in sentences(text)]
    ['Dr. No came. ', 'He left!\\n', 'Why?']
    """
    ends: list[int] = []
    for match in _SENTENCE_END.finditer(text):
        stop = match.end()
        if match.group().startswith(".") and _ABBREVIATION.search(text, max(0, stop - 8), stop):
            continue
        while stop < len(text) and text[stop].isspace():
            stop += 1
        ends.append(stop)
    return _between(text, ends)


def paragraphs(text: str) -> list[Span]:
    """Paragraphs, each with the blank lines after it."""
    return _between(text, [m.end() for m in re.finditer(r"\n[ \t\r]*\n\s*", text)])


def _between(text: str, ends: Sequence[int]) -> list[Span]:
    """Spans between cuts; one of white space alone belongs to the one before."""
    cuts = sorted({0, len(text), *ends})
    found: list[Span] = []
    for a, b in zip(cuts, cuts[1:], strict=False):
        if found and not text[a:b].strip():
            found[-1] = Span(found[-1].start, b)
        else:
            found.append(Span(a, b))
    return whole_graphemes(text, found)


def units_of(text: str, unit: Literal["word", "phrase", "sentence"]) -> list[Span]:
    """The units of a text."""
    return {"word": words, "phrase": phrases, "sentence": sentences}[unit](text)
