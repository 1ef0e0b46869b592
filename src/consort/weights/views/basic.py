"""Checkpoints computed from a checkpoint when they are read: other dtype, other names, fewer tensors, differences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consort.core.binding import described
from consort.core.errors import Incompatible, listing
from consort.weights.checkpoint import CHUNK, Checkpoint, Spec, no_tensor, ranges, round_into, whole


class View(ABC):
    """What all views of one `source` share: its configuration and files, and reading through `read_into`."""

    __repr__ = described

    def __init__(self, source: Checkpoint, name: str) -> None:
        self.source, self.name = source, name

    @property
    def config(self) -> Mapping[str, Any]:
        return self.source.config

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (self.source,)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return self.source.keys()

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self.source.spec(name)

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    @abstractmethod
    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None: ...

    def files(self) -> Mapping[str, Path | bytes]:
        return self.source.files()


class Cast(View):
    """`source` rounded to `dtype`: what it would be if it had been saved so. Only floating tensors change."""

    def __init__(self, source: Checkpoint, dtype: torch.dtype) -> None:
        super().__init__(source, source.name)
        self.dtype = dtype

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        spec = self.source.spec(name)
        return Spec(spec.shape, self.dtype) if spec.dtype.is_floating_point else spec

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        dtype = self.spec(name).dtype
        if out.dtype == dtype:
            self.source.read_into(name, start, stop, out)
            return
        rounded = torch.empty(stop - start, dtype=dtype)
        self.source.read_into(name, start, stop, rounded)
        round_into(rounded, out)


class Renamed(View):
    """`source` with other names: `rename` gives the new name of each; two equal ones are Incompatible."""

    def __init__(self, source: Checkpoint, rename: Callable[[str], str] | Mapping[str, str]) -> None:
        super().__init__(source, source.name)
        new = (lambda name: rename.get(name, name)) if isinstance(rename, Mapping) else rename
        self._old: dict[str, str] = {}
        names = source.keys()
        for name in names:
            if (taken := self._old.setdefault(new(name), name)) != name:
                hint = "give every tensor a name of its own"
                raise Incompatible(f"{taken} and {name} would both be {new(name)}", field=source.name, hint=hint)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._old)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self.source.spec(self._find(name))

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        self.source.read_into(self._find(name), start, stop, out)

    def _find(self, name: str) -> str:
        if name not in self._old:
            raise no_tensor(self, name)
        return self._old[name]


class Selected(View):
    """The tensors of `source` that are among `names`, in the order of `source`; each name must be there."""

    def __init__(self, source: Checkpoint, names: Iterable[str]) -> None:
        super().__init__(source, source.name)
        wanted, have = dict.fromkeys(names), dict.fromkeys(source.keys())
        absent = [name for name in wanted if name not in have]
        if absent:
            raise no_tensor(source, absent[0])
        self._kept = dict.fromkeys(name for name in have if name in wanted)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._kept)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        if name not in self._kept:
            raise no_tensor(self, name)
        return self.source.spec(name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name not in self._kept:
            raise no_tensor(self, name)
        self.source.read_into(name, start, stop, out)


class Delta(View):
    """`source` minus `base`, the task vector: float32, or float64 where either is. Integer tensors have none.

    Both must have the same tensors with the same shapes; all faults are listed at once.
    """

    def __init__(self, source: Checkpoint, base: Checkpoint) -> None:
        super().__init__(source, f"{source.name}-{base.name}")
        self.base = base
        faults = _mismatches(source, base)
        if faults:
            hint = "a delta needs a model and the base it was trained from"
            raise Incompatible(listing(faults), field=f"{source.name} and {base.name}", hint=hint)

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (self.source, self.base)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        names = self.source.keys()
        return [name for name in names if self.source.spec(name).dtype.is_floating_point]

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        specs = self.source.spec(name), self.base.spec(name)
        double = any(spec.dtype == torch.float64 for spec in specs)
        return Spec(specs[0].shape, torch.float64 if double else torch.float32)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        dtype = self.spec(name).dtype
        for low, high in ranges(stop - start, CHUNK):
            of_source, of_base = torch.empty(2, high - low, dtype=dtype)
            self.source.read_into(name, start + low, start + high, of_source)
            self.base.read_into(name, start + low, start + high, of_base)
            round_into(of_source.sub_(of_base), out[low:high])


def _mismatches(source: Checkpoint, base: Checkpoint) -> list[str]:
    names, of_base = dict.fromkeys(source.keys()), dict.fromkeys(base.keys())
    faults = [f"{name} is only in {source.name}" for name in names if name not in of_base]
    faults += [f"{name} is only in {base.name}" for name in of_base if name not in names]
    for name in names:
        if name in of_base and source.spec(name).shape != base.spec(name).shape:
            faults.append(f"{name} is {list(source.spec(name).shape)} and {list(base.spec(name).shape)}")
    return faults
