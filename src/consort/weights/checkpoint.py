"""A checkpoint is a read-only mapping from names to tensors; nothing is in memory until it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from consort.core.binding import described
from consort.core.errors import BadCheckpoint, did_you_mean

BLOCK = 1 << 18
"""Entries of a block: reductions over a tensor are combined block by block, in order."""

CHUNK = 1 << 20
"""Entries read, computed and written at once: a whole number of blocks."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a header tells of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """The number of entries."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that they take."""
        return self.numel * self.dtype.itemsize


@runtime_checkable
class Checkpoint(Protocol):
    """Weights at rest: a folder, or something computed from checkpoints when it is read.

    `name` is a short label for messages; `config` the content of config.json; `inputs` the checkpoints it is computed
    from (none for a folder).
    """

    name: str

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def inputs(self) -> Sequence[Checkpoint]: ...

    def keys(self) -> list[str]:
        """Names of all tensors, in file order."""

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor; reads no data."""

    def __getitem__(self, name: str) -> Tensor:
        """The whole tensor, in the dtype of its spec."""

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        """Fill the flat `out` (stop - start entries) with entries [start, stop) of the flattened tensor.

        Rounds once, to `out.dtype`: a float32 `out` gets a computed tensor as computed. Safe from several threads.
        """

    def files(self) -> Mapping[str, Path | bytes]:
        """What goes beside the weights: tokenizer, generation config, chat template, by file name."""


class Memory:
    """A checkpoint made of tensors that are in memory already.

    `files` is what goes beside the weights, as in `Checkpoint.files`.
    """

    __repr__ = described

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        config: Mapping[str, Any],
        *,
        name: str = "memory",
        files: Mapping[str, Path | bytes] | None = None,
    ) -> None:
        self.name = name
        self.config = dict(config)
        self.inputs: tuple[Checkpoint, ...] = ()
        self._tensors = {key: tensor.detach().contiguous() for key, tensor in tensors.items()}
        self._files = dict(files or {})

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._tensors)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        tensor = self[name]
        return Spec(tuple(tensor.shape), tensor.dtype)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise no_tensor(self, name)
        return self._tensors[name]

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        round_into(self[name].view(-1)[start:stop], out)

    def files(self) -> Mapping[str, Path | bytes]:
        return dict(self._files)


def whole(ckpt: Checkpoint, name: str) -> Tensor:
    """The whole tensor through `read_into`, in the dtype of its spec: `__getitem__` of a computed checkpoint."""
    spec = ckpt.spec(name)
    out = torch.empty(spec.numel, dtype=spec.dtype)
    for start, stop in ranges(spec.numel, CHUNK):
        ckpt.read_into(name, start, stop, out[start:stop])
    return out.view(spec.shape)


@runtime_checkable
class ReadsMany(Protocol):
    """A checkpoint that reads many small tensors in less time than one after another."""

    def read_many(self, names: Sequence[str], out: Tensor) -> None:
        """What `read_into` gives of each whole tensor, one after another in the flat `out`."""


def read_many(ckpt: Checkpoint, names: Sequence[str], out: Tensor) -> None:
    """The whole tensors `names`, one after another in the flat `out`."""
    if isinstance(ckpt, ReadsMany):
        ckpt.read_many(names, out)
        return
    for name, part in zip(names, parts(out, [ckpt.spec(name).numel for name in names]), strict=True):
        ckpt.read_into(name, 0, len(part), part)


def parts(values: Tensor, sizes: Sequence[int], dim: int = 0) -> Sequence[Tensor]:
    """Views of `values`, one after another along `dim`."""
    found: Sequence[Tensor] = values.split(sizes, dim)  # type: ignore[no-untyped-call]
    return found


def ranges(total: int, size: int) -> Iterator[tuple[int, int]]:
    """[0, total) cut into pieces of `size`, the last one shorter; none if total is 0."""
    return ((start, min(start + size, total)) for start in range(0, total, size))


def leaves(ckpt: Checkpoint) -> list[Checkpoint]:
    """The checkpoints that `ckpt` is made of and that are made of no others, each once, in order of appearance."""
    if not ckpt.inputs:
        return [ckpt]
    found = {id(leaf): leaf for source in ckpt.inputs for leaf in leaves(source)}
    return list(found.values())


def round_into(values: Tensor, out: Tensor) -> None:
    """Copy `values` into `out` with one rounding.

    torch converts float64 to a 16-bit type by way of float32, which rounds twice. The float32 in between is therefore
    rounded to odd (Boldo and Melquiond 2008): an inexact one gets its last bit set, and the second rounding is right.
    """
    if values.dtype == torch.float64 and out.dtype.is_floating_point and out.dtype.itemsize < 4:
        values = _to_odd(values)
    out.copy_(values)


def _to_odd(values: Tensor) -> Tensor:
    near = values.to(torch.float32)
    bits = near.view(torch.int32)
    back = near.to(torch.float64)
    # Rounded away from zero with an even last bit: the odd neighbour lies one step towards zero.
    even = (bits & 1) == 0
    away = back.abs() > values.abs()
    step = torch.where(away, -1, 1).to(torch.int32)
    inexact = (back != values) & values.isfinite()
    return torch.where(inexact & even, bits + step, bits).view(torch.float32)


def bytes_of(values: Tensor) -> memoryview:
    """The memory of a flat, contiguous tensor, without a copy."""
    return memoryview(values.view(torch.uint8).numpy())  # type: ignore[arg-type]


def no_tensor(ckpt: Checkpoint, name: str) -> BadCheckpoint:
    """The error for a name that `ckpt` does not have."""
    return BadCheckpoint(f"{ckpt.name} has no such tensor", field=name, hint=did_you_mean(name, ckpt.keys()))
