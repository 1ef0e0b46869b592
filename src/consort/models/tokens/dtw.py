"""Token alignment by edit distance, as FuseLLM (2401.10491) and FuseChat (2408.07990) do it; O(m·n).

A path through the table of all pairs of tokens gives every token at least one partner; rules then say which partner's
row may stand for a pivot position. Differs from the released programmes: tokens are compared by their bytes, not by
the names a vocabulary gives them, so that byte-level and SentencePiece vocabularies agree beyond ASCII; the table is
filled along its anti-diagonals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from consort.models.base import Tokenizer
from consort.models.tokens.edit_distance import distances
from consort.models.tokens.ends import Ids
from consort.models.tokens.pieces import token_bytes

Rule = Literal["default", "hard", "soft"]
"""FuseChat's rule, and FuseLLM's two: exact match, minimum edit distance."""

_DIAGONAL, _UP, _LEFT = 0, 1, 2
ORDERS = {"default": (_DIAGONAL, _LEFT, _UP), "hard": (_DIAGONAL, _UP, _LEFT), "soft": (_DIAGONAL, _UP, _LEFT)}
"""Which way back wins where several are equally short; "up" is the previous source token."""


def spellings(tokenizer: Tokenizer, ids: Sequence[int]) -> list[bytes]:
    """The bytes of each token; of one that is no text its name, so that bos and eos differ from all else."""
    pieces = token_bytes(tokenizer)
    names = {tokenizer.bos: b"<bos>", tokenizer.eos: b"<eos>"}
    return [(pieces[i] if i < len(pieces) else None) or names.get(i, b"<%d>" % i) for i in ids]


def costs(source: Sequence[bytes], pivot: Sequence[bytes], rule: Rule = "default") -> NDArray[np.int64]:
    """Edit distance of every pair without the space before the word.

    By FuseChat's rule a pair of which one is nothing but that space is compared with it.
    """
    rows, ones = _distinct(source)
    columns, others = _distinct(pivot)
    found = distances([_bare(s) for s in ones], [_bare(b) for b in others])
    if rule == "default":
        for i, s in enumerate(ones):
            if not _bare(s):
                found[i] = distances([s], others)[0]
        for j, b in enumerate(others):
            if not _bare(b):
                found[:, j] = distances(ones, [b])[:, 0]
    return found[np.ix_(rows, columns)]


def _distinct(tokens: Sequence[bytes]) -> tuple[list[int], list[bytes]]:
    places: dict[bytes, int] = {}
    rows = [places.setdefault(token, len(places)) for token in tokens]
    return rows, list(places)


def _bare(token: bytes) -> bytes:
    return token.removeprefix(b" ")


def path(cost: NDArray[np.int64], rule: Rule = "default") -> tuple[list[list[int]], int]:
    """For each pivot token (column) the source tokens (rows) of the cheapest path, in order; and the path's cost.

    D[i, j] = cost(i, j) + min(D[i-1, j], D[i, j-1], D[i-1, j-1]), D[0, 0] = 0, the other borders infinite.
    """
    m, n = cost.shape
    if not m or not n:
        return [[] for _ in range(n)], 0
    far = np.iinfo(np.int64).max // 4
    steps = np.zeros((m + 1, n + 1), np.int8)
    # three anti-diagonals i + j = d, indexed by i
    before, last = np.full(m + 1, far), np.full(m + 1, far)
    before[0] = 0
    for d in range(2, m + n + 1):
        i = np.arange(max(1, d - n), min(m, d - 1) + 1)
        j = d - i
        ways = {_DIAGONAL: before[i - 1], _UP: last[i - 1], _LEFT: last[i]}
        ranked = np.stack([ways[way] for way in ORDERS[rule]])
        choice = ranked.argmin(0)  # the first of equals
        steps[i, j] = np.array(ORDERS[rule], np.int8)[choice]
        here = np.full(m + 1, far)
        here[i] = cost[i - 1, j - 1] + ranked[choice, np.arange(len(i))]
        before, last = last, here
    return _back(steps, m, n), int(last[m])


def _back(steps: NDArray[np.int8], i: int, j: int) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(j)]
    while i and j:
        found[j - 1].append(i - 1)
        step = steps[i, j]
        i, j = i - (step != _LEFT), j - (step != _UP)
    return [places[::-1] for places in found]


def partners(
    source: Sequence[bytes],
    pivot: Sequence[bytes],
    places: Sequence[Sequence[int]],
    rule: Rule = "default",
    *,
    alike: Mapping[bytes, bytes] | None = None,
) -> Ids:
    """For each pivot token the source position whose row stands for it, -1 for none.

    `places` are the source tokens of each pivot token. `hard`: the only one, if it is the same string. `soft`: or if
    the map `alike` takes it there. `default`: one of which the other is the end; of several such the last; else the
    last of neighbours that together are the pivot's token.
    """
    chosen = {"default": _suffix, "hard": _same, "soft": _same}[rule]
    found = [chosen(source, b, at, alike or {}) for b, at in zip(pivot, places, strict=True)]
    return np.array(found, np.int64)


def _same(source: Sequence[bytes], token: bytes, at: Sequence[int], alike: Mapping[bytes, bytes]) -> int:
    if len(at) != 1:
        return -1
    own = source[at[0]]
    return at[0] if own == token or alike.get(own) == token else -1


def _suffix(source: Sequence[bytes], token: bytes, at: Sequence[int], alike: Mapping[bytes, bytes]) -> int:
    bare = _bare(token)
    for j in reversed(at):
        own = _bare(source[j])
        if own and bare and (bare.endswith(own) or own.endswith(bare)):
            return j
    for stop in range(len(at), 0, -1):
        for start in range(stop):
            if _bare(b"".join(source[j] for j in at[start:stop])) == bare:
                return at[stop - 1]
    return -1
