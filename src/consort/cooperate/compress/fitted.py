"""Texts cut so that they fit: a view around a place, or a rewritten text within its budget."""

from __future__ import annotations

from typing import Any

from consort.cooperate.compress.parts import Count
from consort.cooperate.compress.surprisal import read
from consort.cooperate.compress.units import sentences, words


def cut_to(tokenizer: Any, text: str, most: int, *, around: tuple[int, int]) -> str:
    """The text, or of one of more than `most` tokens as much as fits on both sides of the characters `around`."""
    if most <= 0:
        return ""
    ends = read(tokenizer, text).ends.tolist()
    if len(ends) <= most:
        return text
    first = next((i for i, end in enumerate(ends) if end > around[0]), len(ends) - 1)
    last = next((i for i, end in enumerate(ends) if end >= around[1]), len(ends) - 1)
    low = max(0, min((first + last + 1 - most) // 2, len(ends) - most))
    return text[ends[low - 1] if low else 0 : ends[low + most - 1]]


def within(text: str, most: int, count: Count) -> str:
    """A text that was written anew, cut to `most` tokens: whole sentences from its beginning, or words of the first."""
    if count(text) <= most:
        return text
    for cut in (sentences, words):
        ends = [span.end for span in cut(text)]
        low, high = 0, len(ends)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if count(text[: ends[middle - 1]].rstrip()) <= most else (low, middle)
        if low:
            return text[: ends[low - 1]].rstrip()
    return ""
