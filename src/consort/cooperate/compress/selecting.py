"""From importances to a text within the budget: whole units by rank, counted in the reader's tokens of the result.

Kept tokens encoded by themselves may be more than they were in their text, so the number of kept units is found by
bisection on what the shortened text really is; a threshold follows from the selection, never the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consort.cooperate.compress.parts import Compression, Count, Span, joined_spans, text_of

_TRIES = 32
"""How many of the next units are tried for the room that is left."""
_MERGED = 4
"""By how many tokens a unit may be shorter beside its neighbours than alone; others are not tried in the whole text."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A text's units and how important each is; `first` has those that go before all others of any importance."""

    text: str
    units: Sequence[Span]
    scores: Sequence[float]
    first: Sequence[bool] = ()

    def ranked(self, number: int) -> list[tuple[bool, float, int, int]]:
        """A sort key of each unit: earlier ones first among equals."""
        early = self.first or [False] * len(self.units)
        return [
            (not soon, -score if not math.isnan(score) else math.inf, number, i)
            for i, (soon, score) in enumerate(zip(early, self.scores, strict=True))
        ]


def select(texts: Sequence[Scored], most: int, count: Count) -> list[list[bool]]:
    """Which units of each text are kept so that all of them together are at most `most` tokens; importance decides."""
    order = [
        (number, unit) for *_, number, unit in sorted(key for n, text in enumerate(texts) for key in text.ranked(n))
    ]
    return by_rank(texts, order, most, count)


def by_rank(texts: Sequence[Scored], order: Sequence[tuple[int, int]], most: int, count: Count) -> list[list[bool]]:
    """As `select`, in an order of (text, unit) that is given. A unit for which there is no room is passed over."""
    low, high = 0, len(order)
    if high and _size(texts, _first(texts, order, high), count) <= most:
        low = high
    while high - low > 1:
        middle = (low + high) // 2
        if _size(texts, _first(texts, order, middle), count) <= most:
            low = middle
        else:
            high = middle
    kept = _first(texts, order, low)
    return _filled(texts, kept, order[low:], most, count)


def _first(texts: Sequence[Scored], order: Sequence[tuple[int, int]], many: int) -> list[list[bool]]:
    kept = [[False] * len(text.units) for text in texts]
    for number, unit in order[:many]:
        kept[number][unit] = True
    return kept


def _size(texts: Sequence[Scored], kept: Sequence[Sequence[bool]], count: Count) -> int:
    return sum(_size_of(text, chosen, count) for text, chosen in zip(texts, kept, strict=True))


def _size_of(text: Scored, chosen: Sequence[bool], count: Count) -> int:
    spans = [span for span, stays in zip(text.units, chosen, strict=True) if stays]
    return count(text_of(text.text, spans)) if spans else 0


def _filled(
    texts: Sequence[Scored], kept: list[list[bool]], rest: Sequence[tuple[int, int]], most: int, count: Count
) -> list[list[bool]]:
    """The same with the next units that still fit."""
    sizes = [_size_of(text, chosen, count) for text, chosen in zip(texts, kept, strict=True)]
    tried = 0
    for number, unit in rest:
        left = most - sum(sizes)
        if left < 1 or tried == _TRIES:
            break
        start, end = texts[number].units[unit]
        if end - start > 64 * left:  # no tokenizer writes so much text in one token
            continue
        tried += 1
        if count(texts[number].text[start:end]) > left + _MERGED:
            continue
        kept[number][unit] = True
        size = _size_of(texts[number], kept[number], count)
        if size - sizes[number] <= left:
            sizes[number] = size
        else:
            kept[number][unit] = False
    return kept


def above(texts: Sequence[Scored], threshold: float) -> list[list[bool]]:
    """Which units are at least as important as `threshold`."""
    return [[score >= threshold for score in text.scores] for text in texts]


def compression(text: Scored, kept: Sequence[bool], count: Count, part: int = 0) -> Compression:
    """What is left of a text."""
    spans = joined_spans([span for span, stays in zip(text.units, kept, strict=True) if stays])
    short = text_of(text.text, spans)
    return Compression(
        short,
        spans,
        count(text.text),
        count(short) if short else 0,
        tuple(float(score) for score in text.scores),
        tuple(text.units),
        part,
    )


def weighted_percentile(values: Sequence[float], weights: Sequence[int], percent: float) -> float:
    """The percentile of values that each stand for `weights` equal ones, without writing them out.

    It is numpy's `percentile` (linear) of `repeat(values, weights)`.

    >>> weighted_percentile([1.0, 2.0], [3, 1], 50)
    1.0
    """
    order = np.argsort(values, kind="stable")
    sorted_values = np.asarray(values, float)[order]
    ends = np.cumsum(np.asarray(weights, np.int64)[order])
    at = (ends[-1] - 1) * percent / 100
    low = int(math.floor(at))
    below, over = (sorted_values[np.searchsorted(ends, i, side="right")] for i in (low, min(low + 1, ends[-1] - 1)))
    return float(below + (over - below) * (at - low))
