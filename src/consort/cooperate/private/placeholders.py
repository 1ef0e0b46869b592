"""Reversible typed placeholders: `<PERSON_1>`, one map for a conversation; what is put back is what was taken out.

The same text always has the same placeholder. Another spelling of it (case, spaces, dots) shares its number and has a
letter: `<PERSON_1b>`. What looks like a placeholder in a text itself is escaped: its `<` becomes `<0>`. So

    restore(sanitise(x)) == x        for every x

because in a sanitised text every placeholder and every `<0>` was put there, and one pass from left to right replaces
each; values are never looked through again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from consort.cooperate.private.spans import HIDDEN, Span

PLACEHOLDER = r"<[A-Z][A-Z0-9]*_[0-9]+[a-z]*>"
ESCAPE = "<0>"
MARKS = re.compile(f"{ESCAPE}|{PLACEHOLDER}")
PARTIAL = re.compile(r"<(?:0|[A-Z][A-Z0-9]*(?:_[0-9]*[a-z]*)?)?\Z")
"""The end of a text that could begin a mark."""


def entity_key(value: str) -> str:
    """What spellings of one thing have in common.

    >>> entity_key("J. Smith") == entity_key("j smith")
    True
    """
    seen = unicodedata.normalize("NFKC", HIDDEN.sub("", value)).casefold()
    return re.sub(r"[^\w@+]|_", "", seen) or seen


class Placeholders:
    """The map of one conversation. It never leaves the process."""

    def __init__(self) -> None:
        self._of_value: dict[tuple[str, str], str] = {}
        self._value_of: dict[str, str] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._spellings: dict[tuple[str, int], int] = {}
        self._counts: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<{len(self._value_of)} placeholders>"

    @property
    def values(self) -> list[str]:
        """What was taken out, in the order in which it was met."""
        return list(self._value_of.values())

    @property
    def kinds(self) -> dict[str, str]:
        """Each value's kind."""
        return {value: kind for kind, value in self._of_value}

    @property
    def longest(self) -> int:
        """Characters of the longest mark that may have to be put back."""
        return max((len(mark) for mark in self._value_of), default=len(ESCAPE))

    def of(self, kind: str, value: str) -> str:
        """The placeholder of a value."""
        known = self._of_value.get((kind, value))
        if known is not None:
            return known
        entity = kind, entity_key(value)
        if entity not in self._numbers:
            self._counts[kind] = self._numbers[entity] = self._counts.get(kind, 0) + 1
        number = self._numbers[entity]
        spelling = self._spellings[kind, number] = self._spellings.get((kind, number), -1) + 1
        mark = f"<{kind}_{number}{_suffix(spelling)}>"
        self._of_value[kind, value], self._value_of[mark] = mark, value
        return mark

    def sanitise(self, text: str, spans: Sequence[Span]) -> str:
        """The text with placeholders for `spans`, which do not overlap, and what looks like one escaped."""
        parts, at = [], 0
        for span in spans:
            parts += [escaped(text[at : span.start]), self.of(span.kind, text[span.start : span.stop])]
            at = span.stop
        return "".join([*parts, escaped(text[at:])])

    def restore(self, text: str, unknown: list[str] | None = None) -> str:
        """The text with the values put back; placeholders that were never given stay, and are added to `unknown`."""

        def back(match: re.Match[str]) -> str:
            mark = match.group()
            if mark == ESCAPE:
                return "<"
            if mark not in self._value_of and unknown is not None:
                unknown.append(mark)
            return self._value_of.get(mark, mark)

        return MARKS.sub(back, text)

    def restored(self, pieces: Iterable[str]) -> Generator[str, None, Any]:
        """The same of a text that comes in pieces: only what could begin a mark is held back. Returns what they do."""
        held, coming = "", iter(pieces)
        while True:
            try:
                held += next(coming)
            except StopIteration as end:
                if held:
                    yield self.restore(held)
                return end.value
            match = PARTIAL.search(held)
            cut = match.start() if match and len(held) - match.start() < self.longest else len(held)
            ready, held = held[:cut], held[cut:]
            if ready:
                yield self.restore(ready)


def escaped(text: str) -> str:
    """A text in which nothing looks like a mark that was put there."""
    return MARKS.sub(lambda match: ESCAPE + match.group()[1:], text)


def _suffix(spelling: int) -> str:
    """Nothing for the first spelling, then b, c, .., z, and za, zb, ..: letters alone.

    >>> [_suffix(i) for i in (0, 1, 25, 26)]
    ['', 'b', 'z', 'za']
    """
    return "" if not spelling else "z" * (spelling // 26) + chr(ord("a") + spelling % 26)
