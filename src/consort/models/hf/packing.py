"""Where the tokens of a lean pass belong: packed one after the other, padded to rows, or in the slots of a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(slots=True)
class Place:
    """Where the packed tokens of a pass belong: their rows, slots and positions, and how rows are padded.

    `counts` new tokens for each row, `most` at once; the first `width` slots are in use after the pass. `start` is the
    slot of the first new token where all rows have one and the same count and start, else None. `masks` are added to
    the scores of (row, new, slot), by sliding window; None where nothing is masked. `first`: every row begins here.
    `last` is the place of the tokens number `ends`, the last ones of the rows, where only these are wanted. Positions
    are at most `shift` more than slots. `apart`: rows of one new token attend one by one, to what they hold.
    """

    rows: Int[Tensor, " token"]
    offsets: Int[Tensor, " token"]
    slots: Int[Tensor, " token"]
    positions: Int[Tensor, " token"]
    counts: Sequence[int]
    width: int
    start: int | None
    first: bool
    masks: dict[int | None, Tensor | None]
    ends: Int[Tensor, " row"] | None = None
    last: Place | None = None
    shift: int = 0
    apart: bool = False

    @property
    def most(self) -> int:
        return max(self.counts)

    @property
    def even(self) -> bool:
        """All rows have the same number of new tokens, so a packed tensor is a padded one."""
        return min(self.counts) == max(self.counts)


def portions(tokens: Sequence[Sequence[int]], size: int) -> Iterator[slice]:
    """Rows in groups that have at most `size` new tokens, or are one row."""
    start = total = 0
    for row, new in enumerate(tokens):
        if total and total + len(new) > size:
            yield slice(start, row)
            start, total = row, 0
        total += len(new)
    yield slice(start, len(tokens))


_PASS = 64
"""What a pass of its own costs, in tokens of padding that it saves."""


def alike(tokens: Sequence[Sequence[int]]) -> list[slice]:
    """Neighbouring rows in groups that have about as many new tokens each, so that little is padding.

    >>> alike([[1], [1], [1] * 100])
    [slice(0, 2, None), slice(2, 3, None)]
    """
    cuts, start, most, total = [], 0, 0, 0
    for row, new in enumerate(tokens):
        together = max(most, len(new)) * (row - start + 1) - total - len(new)
        apart = most * (row - start) - total
        if most and new and together - apart > _PASS:
            cuts.append(slice(start, row))
            start, most, total = row, 0, 0
        most, total = max(most, len(new)), total + len(new)
    return [*cuts, slice(start, len(tokens))]


_CALL = 2**14
"""What attention of a row by itself costs in calls, as numbers read from the cache."""


def worth_it_apart(counts: Sequence[int], lengths: Sequence[int], width: int, store: Tensor) -> bool:
    """Whether rows with one new token each at most should attend one by one: on a CPU, where that spares reading.

    Rows that hold less than `width`, or have no new token, read as much as the others if all attend together.
    """
    own = [length + 1 for length, count in zip(lengths, counts, strict=True) if count]
    spared = (len(counts) * width - sum(own)) * store.shape[2] * store.shape[4] * 2
    return store.device.type == "cpu" and spared > _CALL * len(own)


def rows_apart(
    keys: Float[Tensor, "layer row head slot size"],
    values: Float[Tensor, "layer row head slot size"],
    place: Place,
    windows: Sequence[int | None],
) -> list[list[tuple[Tensor, Tensor]]]:
    """For each layer, of this window, the keys and values `1 head slot size` that each row's new token may see."""
    ends = [(row, slot + 1) for row, slot in zip(place.rows.tolist(), place.slots.tolist(), strict=True)]
    views = {}
    for window in set(windows):
        spans = [(row, slice(0 if window is None else max(0, end - window), end)) for row, end in ends]
        views[window] = [
            (keys[:, row : row + 1, :, span].unbind(), values[:, row : row + 1, :, span].unbind())
            for row, span in spans
        ]
    return [[(k[number], v[number]) for k, v in views[window]] for number, window in enumerate(windows)]


def last_of(x: Float[Tensor, "token ..."], counts: Sequence[int]) -> tuple[Float[Tensor, "row ..."], list[int]]:
    """The last token of each row that has any, and how many of each row that are: 1 or 0."""
    if max(counts) == 1:
        return x, list(counts)
    ends, total = [], 0
    for count in counts:
        total += count
        if count:
            ends.append(total - 1)
    return x[torch.tensor(ends, device=x.device)], [min(count, 1) for count in counts]


def write(store: Float[Tensor, "row head slot size"], new: Float[Tensor, "token head size"], place: Place) -> None:
    if place.start is None:
        store[place.rows, :, place.slots] = new
    else:
        count = place.most
        shaped = new.view(len(place.counts), count, *new.shape[1:]).transpose(1, 2)
        store[:, :, place.start : place.start + count] = shaped


def padded(x: Float[Tensor, "token head size"], place: Place) -> Float[Tensor, "row new head size"]:
    shape = (len(place.counts), place.most, *x.shape[1:])
    if place.even:
        return x.view(shape)
    return x.new_zeros(shape).index_put_((place.rows, place.offsets), x)


def packed(x: Float[Tensor, "row new head size"], place: Place) -> Float[Tensor, "token head size"]:
    return x.flatten(0, 1) if place.even else x[place.rows, place.offsets]
