"""Ranks of magnitudes within rows, where equal ones share the mean of theirs: exact, by the quicker of two ways.

Sorting patterns together with their places works for all rows. Differences of 16-bit weights, though, have few
significant bits: most are told apart by 16 bits of their pattern. Those are sorted alone, in an eighth of the time, and
a table from code to rank, one row at a time, gives every entry its own. The few that 16 bits do not tell apart are
ranked once more among themselves.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt16, UInt32
from torch import Tensor

LONG = 2**9
"""Entries of a row from which a table for each row pays."""

SHIFT = 12
"""Bits of a float32 pattern that a code leaves out: 11 bits of the mantissa stay, and 32 powers of two."""

BLURRED = 1 / 16
"""Share of entries that codes may leave out bits of; beyond it sorting everything is quicker."""

OPEN = np.float32(-1)
"""In the place of a rank that a code does not tell."""


def mean_ranks(values: Float[Tensor, "*rows row"]) -> Float[Tensor, "*rows row"]:
    """0-based ascending ranks of magnitudes in each row; equal ones share the mean of theirs."""
    rows = np.abs(values.reshape(-1, values.shape[-1]).numpy())
    ranks = None
    if rows.dtype == np.float32 and rows.shape[1] >= LONG and rows.size:
        ranks = _by_code(rows.view(np.uint32))
    if ranks is None:
        ranks = _by_place(rows)
    return torch.from_numpy(ranks).view(values.shape)


def _by_place(rows: Float[np.ndarray, "rows row"]) -> Float[np.ndarray, "rows row"]:
    ordered, place = _sorted(rows)
    starts, lengths = _runs(ordered)
    means = np.repeat(starts + (lengths - 1) * 0.5, lengths).reshape(rows.shape)
    means -= np.arange(0, rows.size, rows.shape[1])[:, None]
    ranks = torch.empty(rows.shape, dtype=torch.from_numpy(rows).dtype)
    ranks.scatter_(-1, torch.from_numpy(place), torch.from_numpy(means).to(ranks.dtype))
    found: Float[np.ndarray, "rows row"] = ranks.numpy()
    return found


def _sorted(
    rows: Float[np.ndarray, "rows row"],
) -> tuple[Float[np.ndarray, "rows row"] | UInt32[np.ndarray, "rows row"], Int64[np.ndarray, "rows row"]]:
    """Each row of magnitudes in ascending order (or their bit patterns, which order alike) and where they were.

    A float32 pattern and its place fit into one integer, and those are sorted in half the time.
    """
    if rows.dtype != np.float32:
        place = rows.argsort(axis=-1)
        return np.take_along_axis(rows, place, axis=-1), place
    keys = rows.view(np.uint32).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(rows.shape[1], dtype=np.uint64)
    keys.sort(axis=-1)
    return (keys >> np.uint64(32)).astype(np.uint32), (keys & np.uint64(2**32 - 1)).view(np.int64)


def _runs(ordered: np.ndarray) -> tuple[Int64[np.ndarray, "run"], Int64[np.ndarray, "run"]]:
    """Where equal values begin, in the flattened sorted rows, and how many they are."""
    first = np.ones(ordered.shape, bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    return starts, np.diff(starts, append=ordered.size)


def _by_code(bits: UInt32[np.ndarray, "rows row"]) -> Float[np.ndarray, "rows row"] | None:
    """The ranks by codes of 16 bits; None where too many entries are blurred: are more than their code says."""
    codes, blurred = _codes(bits)
    if len(blurred) > BLURRED * bits.size:
        return None
    width = bits.shape[1]
    ordered = np.sort(codes, axis=1)
    starts, lengths = _runs(ordered)
    of_run, distinct = starts // width, ordered.ravel()[starts]
    starts %= width
    groups = of_run << 16 | distinct
    means = (starts + (lengths - 1) * 0.5).astype(np.float32)
    means[np.searchsorted(groups, blurred // width << 16 | codes.ravel()[blurred])] = OPEN
    bounds = np.searchsorted(of_run, np.arange(len(bits) + 1)).tolist()
    table, ranks = np.empty(2**16, np.float32), np.empty(bits.shape, np.float32)
    for row, (low, high) in enumerate(pairwise(bounds)):
        table[distinct[low:high]] = means[low:high]
        table.take(codes[row], out=ranks[row], mode="clip")
    if len(blurred):
        _settle(ranks, bits, codes, groups, starts)
    return ranks


def _codes(bits: UInt32[np.ndarray, "rows row"]) -> tuple[UInt16[np.ndarray, "rows row"], Int64[np.ndarray, "entry"]]:
    """Codes that order like the patterns, as far as they tell them apart, and the entries that lost bits on the way."""
    short = bits >> SHIFT
    blurred = (bits & (2**SHIFT - 1)) != 0
    least = max(0, int(short.max()) - (2**16 - 1))
    if least:
        blurred |= (short < least) & (bits > 0)
        np.maximum(short, least, out=short)
        short -= least
    return short.astype(np.uint16), np.flatnonzero(blurred)


def _settle(
    ranks: Float[np.ndarray, "rows row"],
    bits: UInt32[np.ndarray, "rows row"],
    codes: UInt16[np.ndarray, "rows row"],
    groups: Int64[np.ndarray, "run"],
    starts: Int64[np.ndarray, "run"],
) -> None:
    """Ranks for the entries left open: all those that share row and code, a group, with a blurred one.

    `groups` are row and code of each run of equal codes, ascending; `starts` is the rank of its first entry.
    """
    left = np.flatnonzero(ranks.ravel() == OPEN)
    row = left // bits.shape[1]
    values, place, count = np.unique(row << 32 | bits.ravel()[left], return_inverse=True, return_counts=True)
    group = np.empty(len(values), np.int64)
    group[place] = row << 16 | codes.ravel()[left]
    before = np.cumsum(count) - count
    first = np.searchsorted(group, group)
    found = starts[np.searchsorted(groups, group)] + before - before[first] + (count - 1) * 0.5
    ranks.ravel()[left] = found[place]
