"""Entries of given ranks in one pass: a sample tells between which two values each lies, and only such are kept.

What is found is exact, whatever the sample: all entries below and above are counted, and where the wanted one turns
out to lie outside, or too many lie inside, nothing is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod, sqrt

import numpy as np
from jaxtyping import UInt

from consort.merge.arithmetic import compiled
from consort.merge.engine.blocks import Block, Blocks

Patterns = UInt[np.ndarray, "row entry"]
"""Bit patterns of magnitudes, which order like them."""

SIGMAS = 4
"""Half the width of a bracket, in standard deviations of the sample's estimate."""

CANDIDATES = 2**23
"""Entries kept of all ranks together; 32 MB of float32."""


@dataclass(slots=True)
class Bracket:
    """The entry of `row` that has `rank`, looked for from `low` to `high`, and what was counted so far."""

    row: int
    rank: int
    low: int
    high: int
    below: int = 0
    lows: int = 0
    highs: int = 0
    inside: list[UInt[np.ndarray, "entry"]] = field(default_factory=list)

    def look(self, bits: UInt[np.ndarray, "entry"]) -> int:
        """Count a block's entries and keep those inside; how many these are."""
        if (kernels := compiled.kernels_for(bits)) is not None:
            inside, counts = compiled.look(kernels, bits, self.low, self.high)
            self.inside.append(inside)
            self.below, self.lows = self.below + counts[0], self.lows + counts[1]
            self.highs += counts[2] if self.high > self.low else 0
            return len(inside)
        between = bits > self.low
        between &= bits < self.high
        self.inside.append(bits[between])
        self.below += int(np.count_nonzero(bits < self.low))
        self.lows += int(np.count_nonzero(bits == self.low))
        self.highs += int(np.count_nonzero(bits == self.high)) if self.high > self.low else 0
        return len(self.inside[-1])

    def found(self) -> int | None:
        """The entry, None if it lies outside."""
        inside = np.sort(np.concatenate(self.inside))
        rank = self.rank - self.below
        if 0 <= rank < self.lows:
            return self.low
        if 0 <= rank - self.lows < len(inside):
            return int(inside[rank - self.lows])
        return self.high if 0 <= rank - self.lows - len(inside) < self.highs else None


def bracketed(
    blocks: Blocks, patterns: Callable[[Block], Patterns], ranks: Sequence[tuple[int, int]]
) -> list[int] | None:
    """The pattern of each (row, 0-based ascending rank), or None if one was not found."""
    brackets = _guess(blocks, patterns, ranks)
    kept = 0
    for block in blocks if brackets else ():
        bits = patterns(block)
        kept += sum(bracket.look(bits[bracket.row]) for bracket in brackets)
        if kept > CANDIDATES:
            return None
    values = [value for bracket in brackets if (value := bracket.found()) is not None]
    return values if len(values) == len(ranks) else None


def _guess(blocks: Blocks, patterns: Callable[[Block], Patterns], ranks: Sequence[tuple[int, int]]) -> list[Bracket]:
    """A bracket for each rank; none at all where they would keep too much.

    How far the estimate may be off is told by how much the parts of the sample differ: rows of a matrix are often
    unlike each other.
    """
    parts = [patterns(block) for block in blocks.sample()]
    sample = np.sort(np.concatenate(parts, axis=1), axis=1)
    n, size = prod(blocks.shape), sample.shape[1]
    found, expected = [], 0.0
    for row, rank in ranks:
        share = rank / n
        middle = sample[row, int(share * size)]
        shares = [np.count_nonzero(part[row] <= middle) / part.shape[1] for part in parts]
        margin = SIGMAS * float(np.std(shares)) / sqrt(len(parts)) + 2 / size
        low, high = int((share - margin) * size), int((share + margin) * size)
        least, most = 0, int(np.iinfo(sample.dtype).max)
        bounds = int(sample[row, low]) if low > 0 else least, int(sample[row, high]) if high < size else most
        found.append(Bracket(row, rank, *bounds))
        expected += 2 * margin * n
    return found if expected < CANDIDATES else []
