"""Rows over a source's tokens as rows over the pivot's.

A map gives each token of the source one of the pivot's. Where the source writes the pivot's next token in several of
its own, no map can say how likely it holds that token, but the source has said so itself: the product of their
probabilities (`spelled_out`). What the first of them has beyond this stays where the map puts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from consort.distil.rows import Rows
from consort.models.tokens.ends import Ids, Spelled

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NextToken:
    """For each row the pivot's next token, the source's that begins it, and its probability (0: unknown)."""

    token: Int[np.ndarray, " row"]
    first: Int[np.ndarray, " row"]
    p: Float[np.ndarray, " row"]


def spelled_out(rows: Rows, taken: Ids, at: Ids, pivot: Spelled, source: Spelled) -> NextToken:
    """A source's probability of the pivot's tokens after positions `at`, where it writes them in several.

    `taken` are its rows there, -1 for none. A token that ends inside one of the source's has none.
    """
    ends = pivot.ends[at + 1]
    stop = np.searchsorted(rows.next_end, ends, side="right")
    is_known = (taken >= 0) & (stop > taken + 1) & (rows.next_end[stop - 1] == ends)
    loss = np.concatenate([[0.0], np.cumsum(rows.ce, dtype=np.float64)])
    return NextToken(
        pivot.ids[at + 1], source.ids[taken + 1], np.where(is_known, np.exp(loss[taken] - loss[stop]), 0.0)
    )


def translated(
    rows: Rows, to: Ids | None, following: NextToken | None = None, *, collisions: str = "sum"
) -> tuple[Ids, Floats, Floats]:
    """Rows over the pivot's ids, by a map of tokens (-1: dropped): tokens, probabilities, and that of all others.

    What the map drops goes to the others. Of tokens that fall on one, probabilities are summed, or the largest kept.
    """
    p = np.exp(rows.logp.astype(np.float64))
    rest = np.exp(rows.tail.astype(np.float64))
    if to is None:
        return rows.ids, p, rest
    known = np.where(rows.ids < len(to), to[np.minimum(rows.ids, len(to) - 1)], -1)
    kept = np.where(known >= 0, p, 0.0)
    if following is not None:
        kept = np.where(rows.ids == following.first[:, None], np.maximum(kept - following.p[:, None], 0.0), kept)
        known, kept = np.column_stack([known, following.token]), np.column_stack([kept, following.p])
    ids, q = merged(np.maximum(known, 0), kept, collisions)
    return ids, q, np.maximum(rest + p.sum(1) - q.sum(1), 0.0)


def merged(ids: Ids, p: Floats, collisions: str = "sum") -> tuple[Ids, Floats]:
    """Each id once a row; places that are not needed have probability 0."""
    same = (ids[:, :, None] == ids[:, None, :]) & (p[:, None, :] > 0)
    first = (same.argmax(2) == np.arange(ids.shape[1])) & (p > 0)
    total = (same * p[:, None, :]).sum(2) if collisions == "sum" else p
    return ids, np.where(first, total, 0.0)
