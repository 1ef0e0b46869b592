"""Reductions over the blocks of a tensor: block results are combined in block order, in float64, by one thread.

Sums use numpy, whose order of summation depends on the length alone; BLAS and torch split sums by thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np
import torch
from jaxtyping import Float, Int, UInt
from torch import Tensor

from consort.merge.arithmetic.order_statistics import bracketed
from consort.merge.engine.blocks import Block, Blocks

Quantity = Callable[[Block], Tensor]
"""Of a block, an array whose first axis is kept and whose other axes are entries."""

PATTERNS = {torch.float32: (np.float32, np.uint32), torch.float64: (np.float64, np.uint64)}
FIELDS = {torch.float32: ((16, 15), (0, 16)), torch.float64: ((48, 15), (32, 16), (16, 16), (0, 16))}
"""The fields (shift, width) of a magnitude's bit pattern, from the highest; the sign is left out."""

SMALL = 2**12
"""Tensors of so few entries are sorted, which takes less time than filling histograms."""

LARGE = 2**20
"""Tensors of so many entries are sampled first, which saves a pass."""


def gram(blocks: Blocks) -> Float[np.ndarray, "model model"]:
    """Inner products of every pair of the stacked tensors."""
    n = blocks.models
    result = np.zeros((n, n))
    for block in blocks:
        rows = block.stack.reshape(n, -1).double().numpy()
        for i in range(n):
            for j in range(i, n):
                result[i, j] += np.einsum("i,i->", rows[i], rows[j])
    return result + np.triu(result, 1).T


def sums(blocks: Blocks, quantity: Quantity) -> Float[np.ndarray, "row"]:
    """Σ over all entries of each row of `quantity`."""
    return reduce(np.add, (_row_sums(quantity(block)) for block in blocks))


def _row_sums(values: Tensor) -> Float[np.ndarray, "row"]:
    return np.array([row.sum() for row in values.reshape(len(values), -1).double().numpy()])


def l1_factors(blocks: Blocks, kept: Quantity) -> Float[np.ndarray, "model"]:
    """L1(d) / L1(kept(d)) of each model, 1 where either is 0: the l1 rescale."""
    both = sums(blocks, lambda block: torch.stack((block.stack, kept(block))).abs().flatten(0, 1))
    whole, part = both.reshape(2, -1)
    factors: Float[np.ndarray, "model"] = np.divide(
        whole, part, out=np.ones_like(whole), where=(whole > 0) & (part > 0)
    )
    return factors


@dataclass(slots=True)
class _Search:
    """An entry looked for by rank: the upper bits of its pattern, and its rank among entries that share them."""

    row: int
    rank: int
    prefix: int = 0


def order_statistics(
    blocks: Blocks, quantity: Quantity, ranks: Sequence[Sequence[int]]
) -> list[Float[np.ndarray, "rank"]]:
    """The entries of given 0-based ranks, ascending, of each row of |`quantity`|: exact, without sorting.

    Non-negative floats order like their bit patterns. In a large tensor a sample tells between which two patterns a
    rank lies, and one pass finds it. Where it does not, a histogram of the highest bits tells in which bin the rank
    lies, and a second pass over that bin's entries the bits below: two passes for float32, four for float64.
    """
    n = prod(blocks.shape)
    if n <= SMALL:
        return _sorted_statistics(blocks, quantity, ranks)
    number, pattern = PATTERNS[blocks.dtype]

    def patterns(block: Block) -> UInt[np.ndarray, "row entry"]:
        values = quantity(block).abs()
        return values.reshape(len(values), -1).numpy().view(pattern)

    wanted = [(row, rank) for row, of_row in enumerate(ranks) for rank in of_row]
    found = bracketed(blocks, patterns, wanted) if wanted and n >= LARGE else None
    values = iter(np.array(found or _descended(blocks, patterns, wanted), pattern).view(number))
    return [np.array([next(values) for _ in of_row]) for of_row in ranks]


def _descended(
    blocks: Blocks, patterns: Callable[[Block], UInt[np.ndarray, "row entry"]], wanted: Sequence[tuple[int, int]]
) -> list[int]:
    """The patterns of (row, rank), by histograms."""
    searches = [_Search(row, rank) for row, rank in wanted]
    for shift, width in FIELDS[blocks.dtype] if searches else ():
        bins = {(s.row, s.prefix): np.zeros(2**width, np.int64) for s in searches}
        for block in blocks:
            bits = patterns(block)
            for (row, prefix), histogram in bins.items():
                histogram += _histogram(bits[row], prefix, shift, width)
        for s in searches:
            _descend(s, bins[s.row, s.prefix], width)
    return [s.prefix for s in searches]


def _sorted_statistics(
    blocks: Blocks, quantity: Quantity, ranks: Sequence[Sequence[int]]
) -> list[Float[np.ndarray, "rank"]]:
    if not any(ranks):
        return [np.array([]) for _ in ranks]
    parts = [quantity(block).abs() for block in blocks]
    rows = np.sort(np.concatenate([part.reshape(len(part), -1).numpy() for part in parts], axis=1), axis=1)
    return [row[list(wanted)] for row, wanted in zip(rows, ranks, strict=True)]


def _histogram(bits: UInt[np.ndarray, "entry"], prefix: int, shift: int, width: int) -> Int[np.ndarray, "bin"]:
    """Counts of the field at `shift` among patterns whose bits above it are `prefix`."""
    if width == 16:
        bits = bits[bits >> (shift + width) == prefix]
    return np.bincount((bits >> shift & (2**width - 1)).view(f"i{bits.itemsize}"), minlength=2**width)


def _descend(search: _Search, histogram: Int[np.ndarray, "bin"], width: int) -> None:
    below = np.cumsum(histogram)
    chosen = int(np.searchsorted(below, search.rank, side="right"))
    search.rank -= int(below[chosen - 1]) if chosen else 0
    search.prefix = search.prefix << width | chosen


def trimming_thresholds(blocks: Blocks, density: Sequence[float]) -> Float[np.ndarray, "model"]:
    """For each model the magnitude of the k-th largest entry, k = max(1, int(density n)); 0 keeps all, inf none."""
    n = prod(blocks.shape)
    ranks = [[n - max(1, int(d * n))] if 0 < d < 1 and n else [] for d in density]
    found = order_statistics(blocks, lambda block: block.stack, ranks)
    return np.array([r[0] if len(r) else (np.inf if d <= 0 else 0.0) for r, d in zip(found, density, strict=True)])


def row_gram(stack: Float[Tensor, "model *rows row"]) -> Float[np.ndarray, "model model *rows"]:
    """Inner products of every pair of models, for each vector of the last dimension."""
    rows = stack.double().numpy()
    result = np.empty((len(rows), len(rows), *rows.shape[1:-1]))
    for i in range(len(rows)):
        for j in range(i, len(rows)):
            result[i, j] = result[j, i] = np.sum(rows[i] * rows[j], axis=-1)
    return result
