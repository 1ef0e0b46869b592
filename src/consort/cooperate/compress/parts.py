"""What goes into a compressor and what comes out: parts of a prompt with roles, a budget, kept spans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from consort.core.errors import BadParameter
from consort.core.types import Usage

Role = Literal["instruction", "context", "question", "demonstration"]

TOUCHED: tuple[Role, ...] = ("context", "demonstration")
"""Roles whose text may be shortened; all others stay as they are."""

Count = Callable[[str], int]
"""How many tokens a text is to the model that will read it."""


class Span(NamedTuple):
    """Characters [start, end) of a text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a prompt and what it is for."""

    text: str
    role: Role = "context"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is kept: a share of the tokens, a number of them, or all units of at least an importance.

    Exactly one is given. Tokens are the reader's, those of the shortened text encoded anew.

    >>> Budget(rate=0.5).most(7), Budget(tokens=3).most(7), Budget(threshold=1.0).most(7)
    (4, 3, None)
    """

    rate: float | None = None
    tokens: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("rate", "tokens", "threshold") if getattr(self, name) is not None]
        if len(given) != 1:
            what = " and ".join(given) if given else "nothing"
            raise BadParameter(f"{what} given", field="budget", hint="give one of rate, tokens, threshold")
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise BadParameter(f"{self.rate:g} is not a share of the tokens", field="rate", hint="a number in [0, 1]")
        if self.tokens is not None and self.tokens < 0:
            raise BadParameter(f"{self.tokens} tokens cannot be kept", field="tokens", hint="0 or more")
        if self.threshold is not None and self.threshold != self.threshold:
            raise BadParameter("is not a number", field="threshold", hint="the least importance that is kept")

    def most(self, total: int) -> int | None:
        """The most tokens that may be kept of `total`; None where importance decides."""
        if self.rate is not None:
            return int(self.rate * total + 0.5)
        return self.tokens


@dataclass(frozen=True, slots=True)
class Compression:
    """A part after compression.

    `kept`: spans of the original whose concatenation is `text`, sorted and disjoint; empty for text that was written
    anew. `units` and `scores`: what could be kept or dropped, and how important each was found (larger is kept first).
    `part`: which of the given parts this is; parts may come back in another order.
    """

    text: str
    kept: tuple[Span, ...]
    tokens_before: int
    tokens_after: int
    scores: tuple[float, ...] | None = None
    units: tuple[Span, ...] = ()
    part: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)


Spending = list[tuple[Any, Usage]]
"""Models that worked for a compression, with what each read and wrote."""


def whole(text: str, count: Count, part: int = 0) -> Compression:
    """A part that is left as it is."""
    tokens = count(text)
    return Compression(text, (Span(0, len(text)),) if text else (), tokens, tokens, part=part)


def joined_spans(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Sorted spans, with those that touch made one.

    >>> joined_spans([Span(0, 2), Span(2, 5), Span(7, 8)])
    (Span(start=0, end=5), Span(start=7, end=8))
    """
    found: list[Span] = []
    for span in spans:
        if found and found[-1].end == span.start:
            found[-1] = Span(found[-1].start, span.end)
        elif span.end > span.start:
            found.append(span)
    return tuple(found)


def text_of(text: str, spans: Sequence[Span]) -> str:
    """The spans of a text, concatenated."""
    return "".join([text[start:end] for start, end in spans])
