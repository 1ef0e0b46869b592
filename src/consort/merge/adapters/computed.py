"""An adapter that is computed when it is read: what merged and extracted adapters have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from consort.weights.adapters.files import factor_keys
from consort.weights.checkpoint import Checkpoint, Spec, no_tensor, round_into, whole


class Factors(NamedTuple):
    """A delta of low rank: B @ A, with the scale in the factors."""

    a: Float[Tensor, "rank inputs"]
    b: Float[Tensor, "outputs rank"]


@dataclass(frozen=True, slots=True)
class Module:
    """A module that an adapter changes: the shape of its delta, its rank, and what computes its factors."""

    name: str
    rank: int
    outputs: int
    inputs: int
    embedding: bool
    compute: Callable[[], Factors]
    parameter: str = ""
    """The weight, where it is one of a module that is no linear layer (peft's `target_parameters`)."""
    experts: int = 1
    """Matrices that the weight is a stack of; factors have rows of A and columns of B for each."""
    depth: int = 0
    """Wrappers inside which it lies: peft puts one around the other for each parameter of a module."""

    @property
    def pattern(self) -> str:
        """What peft's patterns call it."""
        return self.parameter or self.name


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor: its spec, and what fills a buffer with a range of it, as `Checkpoint.read_into`."""

    spec: Spec
    read_into: Callable[[int, int, Tensor], None]


class ComputedAdapter(ABC):
    """An adapter of `modules` and of tensors kept whole (`replaced`), both decided on first use."""

    def __init__(self, name: str, inputs: Sequence[Checkpoint]) -> None:
        self.name = name
        self.inputs = tuple(inputs)

    @property
    @abstractmethod
    def modules(self) -> Sequence[Module]: ...

    @property
    @abstractmethod
    def replaced(self) -> Mapping[str, Part]:
        """Tensors kept whole, by the adapter's own names for them."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """What the configuration says beyond ranks and targets."""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return adapter_config(self.modules, **self.settings)

    @cached_property
    def _parts(self) -> Mapping[str, Part]:
        parts: dict[str, Part] = {}
        for module in self.modules:
            a, b = factor_keys(module.name + ".base_layer" * module.depth, embedding=module.embedding)
            parts[a] = _factor(module, 0, (module.rank * module.experts, module.inputs))
            parts[b] = _factor(module, 1, (module.outputs, module.rank * module.experts))
        return {**parts, **self.replaced}

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._parts)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self._part(name).spec

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        self._part(name).read_into(start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return self.inputs[0].files()

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            raise no_tensor(self, name)
        return self._parts[name]


def adapter_config(modules: Sequence[Module], *, base: str | None, **settings: Any) -> dict[str, Any]:
    """adapter_config.json for factors that hold their own scale: alpha equals the rank everywhere.

    Modules whose rank is not the commonest one are named in the patterns.
    """
    ranks = Counter(module.rank for module in modules)
    rank = max(ranks, key=lambda r: (ranks[r], r))
    others = {module.pattern: module.rank for module in modules if module.rank != rank}
    parameters = sorted(module.parameter for module in modules if module.parameter)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None if base is None else portable(base),
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(module.name for module in modules if not module.parameter),
        **({"target_parameters": parameters} if parameters else {}),
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
        **settings,
    }


def portable(base: str) -> str:
    """A base's name without the folders of this machine."""
    path = PurePath(base)
    return path.name if path.is_absolute() or base.startswith(("~", ".")) else base


def from_tensor(tensor: Callable[[], Tensor], shape: tuple[int, ...]) -> Part:
    """A float32 tensor that `tensor` gives whole."""

    def read_into(start: int, stop: int, out: Tensor) -> None:
        round_into(tensor().reshape(-1)[start:stop], out)

    return Part(Spec(shape, torch.float32), read_into)


def _factor(module: Module, index: int, shape: tuple[int, ...]) -> Part:
    return from_tensor(lambda: module.compute()[index], shape)
