"""Small tensors moved many at a time: what each of them costs is Python, not its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consort.weights.checkpoint import BLOCK
from consort.weights.disk.layout import Place

SMALL = 1 << 12
"""Tensors of fewer entries are small."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Small tensors of one dtype, in the order of their files; `number` is the batch's place in the order of work."""

    number: int
    places: Sequence[Place]

    @property
    def sizes(self) -> list[int]:
        return [place.spec.numel for place in self.places]


def batches(places: Sequence[Place], first: int) -> list[Batch]:
    """The small ones among `places`, in order, as batches of one dtype and at most a block, numbered from `first`.

    Where some are done already (a run is resumed), batches are others than before; bytes do not depend on it.
    """
    groups: list[list[Place]] = []
    entries = 0
    for place in places:
        size = place.spec.numel
        if size >= SMALL:
            continue
        if not groups or entries + size > BLOCK or place.spec.dtype != groups[-1][0].spec.dtype:
            groups.append([])
            entries = 0
        groups[-1].append(place)
        entries += size
    return [Batch(first + n, group) for n, group in enumerate(groups)]


def rows(places: Sequence[Place]) -> Iterator[tuple[Place, int, int]]:
    """Tensors that follow one on another in their file: the first one, and which bytes of the batch they are."""
    first, start, stop = places[0], 0, 0
    for place in places:
        if (place.shard, place.offset) != (first.shard, first.offset + stop - start):
            yield first, start, stop
            first, start = place, stop
        stop += place.spec.nbytes
    yield first, start, stop
