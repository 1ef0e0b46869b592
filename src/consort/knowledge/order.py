"""Ids in the order that people expect, and the best of many scores in that order."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

_DIGITS = re.compile(r"\d+")


def id_key(id: str) -> tuple[str, str]:
    """Sorts "d2" before "d10".

    >>> sorted(["d10", "d2", "c"], key=id_key)
    ['c', 'd2', 'd10']
    """
    return _DIGITS.sub(lambda digits: digits[0].zfill(20), id), id


def ranks(ids: Sequence[str]) -> Int[np.ndarray, " n"]:
    """The place of each id among all, from 0."""
    found = np.empty(len(ids), np.int64)
    found[sorted(range(len(ids)), key=lambda i: id_key(ids[i]))] = np.arange(len(ids))
    return found


def best(scores: Float[np.ndarray, " n"], rank: Int[np.ndarray, " n"], k: int) -> Int[np.ndarray, " k"]:
    """Places of the `k` largest scores (fewer where there are fewer), the best first, of equal ones by `rank`.

    >>> best(np.array([1.0, 3.0, 3.0]), np.array([0, 2, 1]), 2).tolist()
    [2, 1]
    """
    if len(scores) > k:
        edge = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= edge)
    else:
        places = np.arange(len(scores))
    return places[np.lexsort((rank[places], -scores[places]))][:k]
