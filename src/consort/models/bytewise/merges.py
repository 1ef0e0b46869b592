"""Byte pair encoding: which token can follow which inside a word, from the merges alone.

A token's merges are a tree. Where two tokens meet, a merge crosses their boundary exactly if the symbols on both sides
of it stand there at the same time and its rank is below that of the merges that take them away (2506.14123, section 3,
tells only that pairs decide; this is how a pair is decided without encoding it). Times are ranks, or the greatest rank
below a merge where a later one is taken first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NEVER = np.iinfo(np.int64).max
"""The time of what does not happen."""
_MASKS = 1024
"""Masks of tokens that are kept."""


class Merges:
    """The trees of a vocabulary's tokens. `tables` are those of `grown`.

    `alone` says which tokens the merges make of their own bytes; others come about only where words are looked up.
    """

    def __init__(self, ranks: Mapping[tuple[int, int], int], tables: Mapping[str, Ints]) -> None:
        self.ranks = ranks
        self.time, self.left, self.right = (tables[key].tolist() for key in ("time", "left", "right"))
        self.alone = tables["alone"].astype(bool)
        self._followers(ranks)
        symbols, self._entry_time, self._entry_until, self._entry_token = tables["edges"]
        self._begins = np.searchsorted(symbols, np.arange(len(self.time) + 1))
        self.barred = lru_cache(maxsize=_MASKS)(self._barred)

    def joins(self, one: int, two: int) -> bool:
        """Whether `two` can stand after `one` in a word."""
        return bool(self.alone[one] and self.alone[two]) and not _crossed(self, one, NEVER, two, NEVER)

    def spine(self, token: int, parts: Sequence[int], until: int = NEVER) -> Iterator[tuple[int, int]]:
        """The symbols at one edge of a token, outermost last, each with the time at which it is taken away."""
        while token >= 0:
            yield token, until
            token, until = parts[token], self.time[token]

    def _barred(self, token: int) -> Ints:
        """The tokens that cannot follow `token` in a word because a merge crosses the boundary."""
        found = []
        for symbol, until in self.spine(token, self.right):
            at, stop = self._starts[symbol], self._starts[symbol + 1]
            near = self._ranks[at:stop] < until
            rights, ranks = self._rights[at:stop][near], self._ranks[at:stop][near]
            begins, sizes = self._begins[rights], self._begins[rights + 1] - self._begins[rights]
            places = _ranges(begins, sizes)
            rank = np.repeat(ranks, sizes)
            time, end = self._entry_time[places], self._entry_until[places]
            crosses = (rank <= end) & (time < until) & (self.time[symbol] < end)
            found.append(self._entry_token[places[crosses]])
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def _followers(self, ranks: Mapping[tuple[int, int], int]) -> None:
        """Merges by their left half, one range of arrays for each."""
        pairs = np.array([(a, b, rank) for (a, b), rank in ranks.items()], np.int64).reshape(-1, 3)
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        self._rights, self._ranks = pairs[:, 1], pairs[:, 2]
        self._starts = np.searchsorted(pairs[:, 0], np.arange(len(self.time) + 1))


def _ranges(starts: Ints, sizes: Ints) -> Ints:
    """All numbers of several ranges, one after the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - ends + sizes, sizes)


def _crossed(trees: Merges | _Growing, one: int, until: int, two: int, stop: int) -> bool:
    """Whether a merge crosses the boundary of two tokens, which a merge takes away at the times given."""
    ranks, times = trees.ranks, trees.time
    for a, a_end in trees.spine(one, trees.right, until):
        for b, b_end in trees.spine(two, trees.left, stop):
            rank = ranks.get((a, b))
            if rank is None or rank >= a_end or rank > b_end or times[b] >= a_end or times[a] >= b_end:
                continue
            if (a, b) != (one, two) or until == NEVER:
                return True
    return False


class _Growing:
    """Trees in the making."""

    def __init__(self, ranks: Mapping[tuple[int, int], int], size: int) -> None:
        self.ranks, self.time = ranks, [-1] * size
        self.left, self.right = [-1] * size, [-1] * size

    def spine(self, token: int, parts: Sequence[int], until: int = NEVER) -> Iterator[tuple[int, int]]:
        while token >= 0:
            yield token, until
            token, until = parts[token], self.time[token]


def grown(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], *, marked: bool) -> dict[str, Ints]:
    """The tables of `Merges` for a vocabulary of names and its merges in order.

    By token id its time, its left and right part (-1: a symbol), and whether the merges make it of its own bytes
    (`alone`); `edges` are the symbols at the left edge of these tokens, each with its time, the time at which it is
    taken away, and the token, by symbol. `marked`: names like `<0x0A>` stand for bytes.
    """
    size = max(vocabulary.values(), default=-1) + 1
    ranks = ranked(vocabulary, merges)
    makers: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for (a, b), rank in ranks.items():
        makers[made(vocabulary, merges[rank])].append((rank, a, b))
    trees, alone = _Growing(ranks, size), np.zeros(size, np.int64)
    for name, token in sorted(vocabulary.items(), key=lambda item: len(item[0])):
        if len(name) == 1 or (marked and _is_byte(name)):
            alone[token] = 1
            continue
        for rank, a, b in makers.get(token, ()):
            time = max(rank, trees.time[a], trees.time[b])
            if alone[a] and alone[b] and not _crossed(trees, a, time, b, time):
                trees.time[token], trees.left[token], trees.right[token] = time, a, b
                alone[token] = 1
                break
    found = {"time": trees.time, "left": trees.left, "right": trees.right}
    edges = np.array(_edges(trees, np.flatnonzero(alone).tolist()), np.int64).reshape(-1, 4)
    edges = edges[np.argsort(edges[:, 0], kind="stable")].T
    return {key: np.array(value, np.int64) for key, value in found.items()} | {"alone": alone, "edges": edges}


def _edges(trees: _Growing, tokens: Sequence[int]) -> list[tuple[int, int, int, int]]:
    times, left = trees.time, trees.left
    return [(symbol, times[symbol], until, token) for token in tokens for symbol, until in trees.spine(token, left)]


def ranked(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> dict[tuple[int, int], int]:
    """The rank of each pair of token ids that is merged."""
    found: dict[tuple[int, int], int] = {}
    for rank, (a, b) in enumerate(merges):
        found[vocabulary[a], vocabulary[b]] = rank
    return found


def made(vocabulary: Mapping[str, int], pair: tuple[str, str]) -> int:
    return vocabulary[pair[0] + pair[1]]


def _is_byte(name: str) -> bool:
    return len(name) == 6 and name.startswith("<0x") and name.endswith(">")
