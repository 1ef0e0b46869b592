"""`missing: base`: a model that lacks tensors of the others, with the base's in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from consort.weights.checkpoint import Checkpoint, Spec, whole


class Completed:
    """`model` with the tensors `names`, which it lacks, from `base`."""

    def __init__(self, model: Checkpoint, base: Checkpoint, names: Iterable[str]) -> None:
        self.model, self.base, self.name = model, base, model.name
        self._lent = dict.fromkeys(names)

    @property
    def config(self) -> Mapping[str, Any]:
        return self.model.config

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (self.model, self.base)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return [*self.model.keys(), *self._lent]

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self._of(name).spec(name)

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        self._of(name).read_into(name, start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return self.model.files()

    def _of(self, name: str) -> Checkpoint:
        return self.base if name in self._lent else self.model
