"""Coordinate-wise median (Yin et al. 2018, arXiv 1803.01498)."""

from __future__ import annotations

from collections.abc import Sequence

from consort.federate.aggregation import aggregator
from consort.federate.robust import entrywise
from consort.federate.state import Memory, State, Update


@aggregator(paper="1803.01498", robust=True)
def median(base: State, updates: Sequence[Update], memory: Memory) -> tuple[State, Memory]:
    """The median of the clients' numbers, entry by entry; of an even number the mean of the middle two.

    What a client says of its samples counts for nothing: a liar could say anything. Holds against fewer than half.
    """
    middle = (len(updates) - 1) // 2, len(updates) // 2
    return entrywise(base, updates, lambda rows: rows.sort(dim=0).values[list(middle)].mean(0)), {}
