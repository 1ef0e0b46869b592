"""How surprising each token of a text is to a model: -log p(x_t | x_<t) in nats, for texts of any length.

A text longer than the window is read in windows that overlap by half; each token counts in the window in which most of
the text stands before it. What is scored at t is token t itself: `nll[t]` belongs to `ids[t]`, not to the token before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from consort.cooperate.compress.compressor import Job
from consort.cooperate.compress.parts import Span
from consort.cooperate.compress.units import whole_graphemes
from consort.core.errors import Unsupported
from consort.core.types import Usage
from consort.models.base import Tokenizer
from consort.models.decoding.decode import start
from consort.models.tokens.ends import spell


@dataclass(frozen=True, slots=True)
class Read:
    """A text as tokens: ids without what a tokenizer puts before a text, and where each ends, in characters."""

    ids: list[int]
    ends: Int[np.ndarray, " token"]


def read(tokenizer: Tokenizer, text: str) -> Read:
    """The tokens of a text. A token that ends inside a character ends, for this, before it."""
    if not text:
        return Read([], np.zeros(0, np.int64))
    ids = list(tokenizer.encode(text, special=False))
    bytes_before = np.cumsum([len(character.encode("utf-8", "surrogatepass")) for character in text])
    try:
        ends = spell(tokenizer, text).ends
    except Unsupported:
        if len(ids) != bytes_before[-1]:
            raise
        ends = np.arange(1, len(ids) + 1)  # bytes, some of which stand for control tokens too
    return Read(ids, np.searchsorted(bytes_before, ends[len(ends) - len(ids) :], side="right"))


def token_spans(text: str, found: Read) -> list[Span]:
    """The tokens as units that cover the text; those inside one grapheme are one unit."""
    cuts = [0, *np.unique(found.ends[found.ends > 0]).tolist()]
    if cuts[-1] < len(text):
        cuts[-1:] = [len(text)] if len(cuts) > 1 else [0, len(text)]
    return whole_graphemes(text, [Span(a, b) for a, b in zip(cuts, cuts[1:], strict=False)])


def owners(ends: Int[np.ndarray, " token"], units: Sequence[Span]) -> Int[np.ndarray, " token"]:
    """For each token the unit that its last character is in."""
    stops = np.array([unit.end for unit in units], np.int64)
    return np.minimum(np.searchsorted(stops, ends, side="left"), max(len(units) - 1, 0))


def mean_by_unit(
    values: Float[np.ndarray, " token"], owner: Int[np.ndarray, " token"], units: int, absent: float = -np.inf
) -> Float[np.ndarray, " unit"]:
    """The mean of the tokens of each unit, those that are NaN left out; `absent` for a unit without tokens.

    A unit all of whose tokens are NaN is NaN.
    """
    known = ~np.isnan(values)
    total = np.bincount(owner[known], values[known], minlength=units)
    several, all_ = np.bincount(owner[known], minlength=units), np.bincount(owner, minlength=units)
    found = np.full(units, absent)
    found[all_ > 0] = np.nan
    np.divide(total, several, out=found, where=several > 0)
    return found


def surprisals(
    model: Any, texts: Sequence[Sequence[int]], before: Sequence[int] | None = None, job: Job | None = None
) -> list[Float[np.ndarray, " token"]]:
    """The surprisal of every token of each text, in nats.

    `before` is what every text follows (by default the token that starts a text); it stands at the head of each window,
    cut to its last tokens where it would take more than half of one. The first token of a text that follows nothing
    is NaN. `job` is charged.
    """
    begun = perf_counter()
    head = list(start(model.tokenizer) if before is None else before)
    if model.window is not None and len(head) > max(1, model.window // 2):
        head = head[-max(1, model.window // 2) :]
    found = [np.full(len(text), np.nan) for text in texts]
    places, lists = [], []
    for number, text in enumerate(texts):
        for begin, scored, end in windows(len(text), None if model.window is None else model.window + 1 - len(head)):
            places.append((number, scored, end))
            lists.append([*head, *text[begin:end]])
    for (number, scored, end), values in zip(places, model.logprobs(lists), strict=True):
        new = end - scored
        known = -values[max(0, len(values) - new) :].numpy()
        found[number][end - len(known) : end] = known
    if job is not None:
        job.spent.append((model, Usage(sum(map(len, lists)), 0, len(lists), perf_counter() - begun)))
    return found


def windows(length: int, room: int | None) -> list[tuple[int, int, int]]:
    """Windows over a text of so many tokens: (where it begins, from where it scores, where it ends)."""
    if not length:
        return []
    if room is None or length <= room:
        return [(0, 0, length)]
    stride, found, scored = max(1, room // 2), [], 0
    begin = 0
    while scored < length:
        end = min(begin + room, length)
        found.append((begin, scored, end))
        scored, begin = end, begin + stride
    return found
