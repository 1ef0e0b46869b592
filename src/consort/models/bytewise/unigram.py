"""Unigram: which token can follow what a word has so far, as the best path through its pieces goes (1804.10959).

The best path to the end of a text begins with the best path to each place on it, so tokens are what the tokenizer makes
of their text exactly if that is the best path to their end. What can beat a token is a piece that straddles its start.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_UNKNOWN_PENALTY = 10.0
_SLACK = 1e-9
"""Sums of scores that differ by less than this are equal but for rounding."""


class Unigram:
    """Pieces with scores. Ids of pieces that are never written (unknown, control, unused) are not among `names`."""

    def __init__(self, scores: Mapping[str, float], ids: Mapping[str, int], size: int) -> None:
        self.scores, self.ids = scores, ids
        self.unknown = min(scores.values(), default=0.0) - _UNKNOWN_PENALTY
        self.longest = max(map(len, scores), default=1)
        self.names = sorted(ids)
        self.tokens = np.array([ids[name] for name in self.names], np.int64)
        self.own = np.array([scores[name] for name in self.names], np.float64)
        self.alone = np.zeros(size, bool)
        self.widest = max(map(len, self.names), default=0)
        self.rest = np.full((len(self.names), self.widest + 1), -np.inf)
        for row, name in enumerate(self.names):
            self._learn(row, name)

    def _learn(self, row: int, name: str) -> None:
        """The best score of each ending of `name`, and whether it is the best path to its own end."""
        best = self.rest[row]
        best[len(name)] = 0.0
        for at in range(len(name) - 1, -1, -1):
            best[at] = max(score + best[at + n] for n, score in self._steps(name, at))
        split = [score + best[n] for n, score in self._steps(name, 0) if n < len(name)]
        self.alone[self.tokens[row]] = self.own[row] >= max(split, default=-np.inf) - _SLACK

    def _steps(self, text: str, at: int) -> list[tuple[int, float]]:
        """Lengths and scores of the pieces that begin at a place; a character that is none is unknown."""
        found = [
            (n, self.scores[piece])
            for n in range(1, min(self.longest, len(text) - at) + 1)
            if (piece := text[at : at + n]) in self.scores
        ]
        return found if found and found[0][0] == 1 else [(1, self.unknown), *found]

    def reached(self, text: str) -> list[float]:
        """The best score to each place of `text`."""
        best = [0.0, *[-np.inf] * len(text)]
        for at in range(len(text)):
            for n, score in self._steps(text, at):
                best[at + n] = max(best[at + n], best[at] + score)
        return best

    def barred(self, text: str) -> Ints:
        """The tokens that cannot follow `text`, the word so far: a piece across its end gives a better path."""
        best = self.reached(text)
        here, across = best[len(text)], dict[str, float]()
        for at in range(max(0, len(text) - self.widest + 1), len(text)):
            start, stop = self._range(text[at:])
            size = len(text) - at
            gain = best[at] + self.own[start:stop] - here
            for row in start + np.flatnonzero(gain >= self.rest[start:stop, size] - _SLACK):
                if len(self.names[row]) > size:
                    tail = self.names[row][size:]
                    across[tail] = max(across.get(tail, -np.inf), float(gain[row - start]))
        found = []
        for tail, gain_ in across.items():
            start, stop = self._range(tail)
            beaten = gain_ + self.rest[start:stop, len(tail)] > self.own[start:stop] + _SLACK
            if start < stop and self.names[start] == tail:  # of equal paths the one whose last piece begins first
                beaten[0] = gain_ >= self.own[start] - _SLACK
            found.append(self.tokens[start:stop][beaten])
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def _range(self, start: str) -> tuple[int, int]:
        """The names that begin so."""
        first = bisect_left(self.names, start)
        return first, bisect_left(self.names, start + "\U0010ffff", first)


def pieces_of(model: Mapping[str, Sequence[tuple[str, float]]], written: Sequence[bytes | None]) -> Unigram:
    """The pieces of a tokenizer's model; `written` are the bytes of those tokens that are text."""
    scores = {name: float(score) for name, score in model["vocab"]}
    ids = {
        name: i
        for i, (name, _) in enumerate(model["vocab"])
        if i < len(written) and written[i] is not None and not (len(name) == 6 and name.startswith("<0x"))
    }
    return Unigram(scores, ids, max(len(written), len(scores)))
