"""How a tensor is cut for computing: fixed blocks, so that threads and chunk sizes never change a bit.

A method of grain "entry" may be computed for any entries alone, one of grain "row" for whole rows (the last dimension;
a vector is one row), one of grain "tensor" for the whole tensor only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Grain = Literal["entry", "row", "tensor"]
BLOCK = 2**18
SAMPLED = 2**11
"""Entries of one part of a sample."""


class Block(NamedTuple):
    """A part of the stacked tensors: entries flat for grain "entry", else `(model, rows, row)`.

    Valid until the next block is read: the memory is used again.
    """

    stack: Float[Tensor, "model *part"]
    uniform: Float[Tensor, "model *part"] | None = None
    statistics: Float[Tensor, "model *stat"] | None = None

    @property
    def drawn(self) -> Float[Tensor, "model *part"]:
        """The uniform numbers of a method that draws."""
        if self.uniform is None:
            raise ValueError("the method has no argument `uniform`")
        return self.uniform

    @property
    def measured(self) -> Float[Tensor, "model *part"]:
        """The statistics of a method that has one for every entry."""
        if self.statistics is None:
            raise ValueError("the method takes no statistics of entries")
        return self.statistics


@runtime_checkable
class Blocks(Protocol):
    """All blocks of one tensor in order; may be iterated again and again, each time reading the inputs anew."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor, without the model axis."""

    @property
    def models(self) -> int:
        """Length of the model axis."""

    @property
    def dtype(self) -> torch.dtype:
        """float32, or float64 where an input is float64."""

    def __iter__(self) -> Iterator[Block]: ...

    def sample(self) -> Iterator[Block]:
        """Small parts, evenly spread, for estimates."""

    def tensors(self) -> Iterator[Blocks]:
        """The blocks of each tensor by itself: inside `of_model` there are many."""

    def of_model(self, statistic: Callable[[Blocks], Any]) -> Any:
        """`statistic` of all tensors of the merge taken together, computed once."""


def row_length(shape: Sequence[int]) -> int:
    return shape[-1] if shape else 1


def block_length(shape: Sequence[int], grain: Grain) -> int:
    """Entries of a block: 2^18, or as many whole rows as fit in (at least one), or all."""
    if grain == "tensor":
        return max(1, prod(shape))
    row = max(1, row_length(shape))
    return BLOCK if grain == "entry" else max(1, BLOCK // row) * row


def ranges(shape: Sequence[int], grain: Grain, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Flat ranges, each inside one block and of whole grains, that together cover [start, stop)."""
    total, length = prod(shape), block_length(shape, grain)
    step = {"entry": 1, "row": max(1, row_length(shape)), "tensor": max(1, total)}[grain]
    start, stop = start // step * step, min(total, -(-stop // step) * step)
    for first in range(start // length * length, stop, length):
        yield max(first, start), min(first + length, stop)


def spread(shape: Sequence[int], grain: Grain, parts: int) -> Iterator[tuple[int, int]]:
    """Flat ranges of a few thousand entries, of whole grains, that lie evenly over the tensor."""
    total = prod(shape)
    for number in range(parts):
        start = total * number // parts
        yield next(ranges(shape, grain, start, min(start + SAMPLED, total)))


def sampled_parts(entries: int) -> int:
    """How many parts a sample of so many entries has."""
    return max(16, min(256, entries // BLOCK))


def shaped(flat: Tensor, shape: Sequence[int], grain: Grain) -> Tensor:
    """A flat stack `(model, entries)` in the form that a method of this grain works on."""
    if grain == "row":
        return flat.view(len(flat), -1, max(1, row_length(shape)))
    return flat.view(len(flat), *shape) if grain == "tensor" else flat


@dataclass(frozen=True, slots=True)
class InMemory:
    """The blocks of stacked tensors that are in memory already."""

    stack: Float[Tensor, "model *shape"]
    uniform: Float[Tensor, "model *shape"] | None
    grain: Grain
    statistics: Float[Tensor, "model *stat"] | None = None
    whole_model: Callable[[Callable[[Blocks], Any]], Any] | None = None
    """What `of_model` does, where there are more tensors than this one."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stack.shape[1:])

    @property
    def models(self) -> int:
        return len(self.stack)

    @property
    def dtype(self) -> torch.dtype:
        return self.stack.dtype

    def __iter__(self) -> Iterator[Block]:
        for start, stop in ranges(self.shape, self.grain, 0, prod(self.shape)):
            parts = (self.stack, self.uniform, self.statistics)
            yield Block(*(None if t is None else self._part(t, start, stop) for t in parts))  # type: ignore[arg-type]

    def _part(self, whole: Tensor, start: int, stop: int) -> Tensor:
        if self.grain == "tensor":
            return whole
        flat = whole.flatten(1)
        part = flat if stop - start == flat.shape[1] else flat[:, start:stop]
        return shaped(part.contiguous(), self.shape, self.grain)

    def sample(self) -> Iterator[Block]:
        for start, stop in spread(self.shape, self.grain, sampled_parts(prod(self.shape))):
            yield Block(self._part(self.stack, start, stop))

    def tensors(self) -> Iterator[Blocks]:
        yield self

    def of_model(self, statistic: Callable[[Blocks], Any]) -> Any:
        return self.whole_model(statistic) if self.whole_model else statistic(self)
