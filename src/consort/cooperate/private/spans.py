"""Private places of a text, and the plain form of a text in which they are looked for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

HIDDEN = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u206a-\u206f\ufe00-\ufe0f\ufeff]")
"""Characters that are not seen: they would part what belongs together."""


SHORTEST_KNOWN = 4
"""Characters of a value that is looked for where no recogniser sees it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, stop) of a text, the kind of thing they are, and how sure that is: larger wins."""

    start: int
    stop: int
    kind: str
    priority: int = 0

    @property
    def size(self) -> int:
        return self.stop - self.start


class Recogniser(Protocol):
    """Finds places in a plain text (see `plain`)."""

    def find(self, text: str) -> Iterable[Span]: ...


@dataclass(frozen=True, slots=True)
class Plain:
    """A text as it is read (NFKC, without what is not seen), and where each of its characters came from."""

    text: str
    starts: Sequence[int]
    stops: Sequence[int]

    def original(self, span: Span) -> Span:
        """The place in the text as it was written."""
        return Span(self.starts[span.start], self.stops[span.stop - 1], span.kind, span.priority)


def plain(text: str) -> Plain:
    """The plain form of a text, character by character, a base with the marks behind it.

    >>> plain("\uff42ob\u200b@x").text
    'bob@x'
    """
    letters, starts, stops = [], [], []
    for at, stop in _clusters(text):
        for letter in unicodedata.normalize("NFKC", HIDDEN.sub("", text[at:stop])):
            letters.append(letter)
            starts.append(at)
            stops.append(stop)
    return Plain("".join(letters), starts, stops)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Each character with the combining marks and unseen characters that follow it."""
    at = 0
    while at < len(text):
        stop = at + 1
        while stop < len(text) and (unicodedata.combining(text[stop]) or HIDDEN.match(text[stop])):
            stop += 1
        yield at, stop
        at = stop


def settled(spans: Iterable[Span]) -> list[Span]:
    """Spans that do not overlap, by place: the longest are kept, then those of highest priority."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (-s.size, -s.priority, s.start, s.kind)):
        if span.size > 0 and all(span.stop <= other.start or other.stop <= span.start for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda s: s.start)


def found(text: str, recognisers: Sequence[Recogniser], known: Mapping[str, str] = MappingProxyType({})) -> list[Span]:
    """The private places of a text as it was written.

    A value that was found in one place, or is `known` (to its kind) from before, is private wherever it stands.
    """
    seen = plain(text)
    spans = [seen.original(span) for one in recognisers for span in one.find(seen.text) if span.size > 0]
    values = {**known, **{text[span.start : span.stop]: span.kind for span in settled(spans)}}
    for value, kind in values.items():
        if len(value) >= SHORTEST_KNOWN:
            spans += [Span(m.start(), m.end(), kind, -1) for m in re.finditer(re.escape(value), text)]
    return settled(spans)


def matches(
    pattern: re.Pattern[str], text: str, kind: str, priority: int, is_sound: Callable[[str], bool] = lambda value: True
) -> Iterator[Span]:
    """Every match of a pattern that is sound."""
    for match in pattern.finditer(text):
        if is_sound(match.group()):
            yield Span(match.start(), match.end(), kind, priority)


def digits(text: str) -> str:
    """The decimal digits of a text, in ASCII.

    >>> digits("4111-1111 \uff11")
    '411111111'
    """
    return "".join(str(unicodedata.digit(letter)) for letter in text if letter.isdigit() and _is_decimal(letter))


def _is_decimal(letter: str) -> bool:
    return unicodedata.decimal(letter, None) is not None
