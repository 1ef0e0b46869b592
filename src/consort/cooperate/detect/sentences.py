"""Sentences of a text, with their places: rules for abbreviations, initials, numbers, quotes and lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

END = re.compile(r"""[.!?…]+["'”’)\]»]*(?=\s|$)|[。！？]+[」』”）]*|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)""")
SHORT = (
    "mr mrs ms dr prof st sr jr vs etc fig figs no vol pp eq inc ltd co corp gen col capt sgt lt rep sen gov rev hon "
    "e.g i.e cf al approx dept est jan feb mar apr jun jul aug sep sept oct nov dec a.m p.m u.s u.k u.n d.c ph.d"
)
BEFORE_NAMES = "mr mrs ms dr prof st sr vs e.g i.e cf gen col capt sgt lt rep sen gov rev hon"
BEFORE_FIGURES = frozenset("no fig figs pp vol eq jan feb mar apr jun jul aug sep sept oct nov dec approx al".split())  # noqa: SIM905
ABBREVIATIONS, TITLES = frozenset(SHORT.split()), frozenset(BEFORE_NAMES.split())
LAST_WORD = re.compile(r"[^\s(\[\"'“‘]+$")
INITIAL = re.compile(r"(?:[A-Z]\.)*[A-Z]$")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The characters [start, end) of a text."""

    start: int
    end: int
    text: str


def sentences(text: str) -> list[Sentence]:
    """The sentences of `text`, in order, without the white space around them; none of a text without words.

    >>> [s.text for s in sentences("Dr. Low paid $3.50. Why? (Nobody knows.)")]
    ['Dr. Low paid $3.50.', 'Why?', '(Nobody knows.)']
    """
    found = []
    begin = 0
    for end in (*_ends(text), len(text)):
        part = text[begin:end]
        start = begin + len(part) - len(part.lstrip())
        stop = begin + len(part.rstrip())
        if any(c.isalnum() for c in text[start:stop]):
            found.append(Sentence(start, stop, text[start:stop]))
        begin = end
    return found


def _ends(text: str) -> Iterator[int]:
    for match in END.finditer(text):
        if (
            match[0][0] != "."
            or len(match[0].rstrip("\"'”’)]»")) > 1
            or not _abbreviated(text, match.start(), match.end())
        ):
            yield match.end()


def _abbreviated(text: str, dot: int, end: int) -> bool:
    """Whether the dot belongs to an abbreviation or an initial, or the text goes on in lower case."""
    word = LAST_WORD.search(text, max(0, dot - 40), dot)
    rest = text[end:].lstrip()
    if word is None or not rest:
        return False
    name = word[0]
    goes_on = rest[0].islower() or (rest[0].isdigit() and name.lower() in BEFORE_FIGURES)
    if name.lower() in ABBREVIATIONS:
        return name.lower() in TITLES or goes_on
    return bool(INITIAL.fullmatch(name)) and (len(name) == 1 or goes_on)
