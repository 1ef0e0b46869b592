"""A checkpoint under the names, and in the shapes, that transformers gives it when it loads it.

One model can lie on disk in several layouts: experts one by one or stacked, the language model of a vision-language
model under its old or its new prefix. transformers renames and converts while loading; this view does the same with
its own rules, lazily, so that two layouts of one model become alike, and so that adapters, which are named after
loaded modules, find their weights.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from consort.core.errors import Unsupported
from consort.weights.architecture.skeleton import skeleton
from consort.weights.checkpoint import Checkpoint, Spec, no_tensor, round_into
from consort.weights.views.basic import View

KEPT = 2
"""Converted groups kept at a time: of one layer's experts."""


@dataclass(slots=True)
class Group:
    """Tensors that are converted together: by which rule, their names on disk by pattern, the names they become."""

    converter: Any
    first: str
    sources: dict[str, list[str]] = field(default_factory=dict)


class Loaded(View):
    """`source` as transformers loads it. Raises Unsupported where transformers does not know the architecture."""

    def __init__(self, source: Checkpoint) -> None:
        super().__init__(source, source.name)
        model = skeleton(source.config)
        if model is None:
            kind = source.config.get("model_type")
            raise Unsupported(f"transformers knows no {kind!r}", field=source.name, hint="give models of one layout")
        self._model = model
        self._renamed: dict[str, str] = {}
        self._groups: dict[str, Group] = {}
        self._converted: dict[str, tuple[str, Spec]] = {}
        self._read_names()
        for first, group in self._groups.items():
            made = self._convert(group, {name: _like(source.spec(name)) for _, name in _members(group)})
            self._converted |= {name: (first, Spec(tuple(t.shape), t.dtype)) for name, t in made.items()}
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, torch.dtype], Mapping[str, Tensor]] = {}

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return [*self._renamed, *self._converted]

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        if name in self._converted:
            return self._converted[name][1]
        return self.source.spec(self.name_on_disk(name) or "")

    def name_on_disk(self, name: str) -> str | None:
        """What a tensor is called in `source`; None where it is made of several there. Raises BadCheckpoint."""
        if name in self._converted:
            return None
        if name not in self._renamed:
            raise no_tensor(self, name)
        return self._renamed[name]

    @property
    def joins_tensors(self) -> bool:
        """Whether several tensors on disk are one when loaded."""
        return bool(self._converted)

    @property
    def changes_names(self) -> bool:
        """Whether anything is called or shaped otherwise than on disk."""
        return bool(self._converted) or any(name != there for name, there in self._renamed.items())

    def parameters(self, module: str) -> list[str]:
        """Names of the parameters that a module itself holds, in its order."""
        own = self._model.get_submodule(module).named_parameters(recurse=False)
        return [name for name, _ in own]

    def stored_transposed(self, module: str) -> bool:
        """Whether a module says that its weights are input by output."""
        return bool(getattr(self._model.get_submodule(module), "is_transposed", False))

    def names_when_loaded(self) -> dict[str, str]:
        """For each tensor on disk that is one tensor when loaded, its name then."""
        return {there: name for name, there in self._renamed.items()}

    def converted_modules(self) -> set[str]:
        """Last names of the modules on disk that become parts of another when loaded: one expert's layers."""
        members = (name for group in self._groups.values() for _, name in _members(group))
        return {name.split(".")[-2] for name in members if "." in name}

    def is_linear(self, module: str) -> bool:
        """Whether a module is a plain linear layer, and not one of the architecture's own that holds a matrix."""
        if not self.has_module(module):
            return True
        found = self._model.get_submodule(module)
        own = type(found)  # a router may be one and give more than a product
        return getattr(own, "forward", None) is nn.Linear.forward or own.__name__ == "Conv1D"

    def sources(self, name: str) -> list[str]:
        """The tensors on disk that a tensor is made of."""
        if name not in self._converted:
            return [self._renamed[name]] if name in self._renamed else []
        return [there for _, there in _members(self._groups[self._converted[name][0]])]

    def is_of_its_own(self, module: str) -> bool:
        """Whether a module is the architecture's own kind, and none of torch's."""
        return self.has_module(module) and not type(self._model.get_submodule(module)).__module__.startswith("torch.")

    def has_parts(self, module: str) -> bool:
        """Whether a module is made of others."""
        return self.has_module(module) and any(True for _ in self._model.get_submodule(module).children())

    def has_module(self, module: str) -> bool:
        """Whether the architecture has a module of this name."""
        return any(name == module for name, _ in self._model.named_modules())

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        there = self.name_on_disk(name)
        if there is not None:
            self.source.read_into(there, start, stop, out)
            return
        first, spec = self._converted[name]
        dtype = out.dtype if out.dtype.is_floating_point and spec.dtype.is_floating_point else spec.dtype
        round_into(self._whole(first, dtype)[name].reshape(-1)[start:stop], out)

    def _whole(self, first: str, dtype: torch.dtype) -> Mapping[str, Tensor]:
        """The tensors of a group, converted."""
        with self._lock:
            if (first, dtype) not in self._kept:
                group = self._groups[first]
                tensors = {name: _read(self.source, name, dtype) for _, name in _members(group)}
                while len(self._kept) >= KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[first, dtype] = self._convert(group, tensors)
            return self._kept[first, dtype]

    def _read_names(self) -> None:
        """Which rule applies to which name, by transformers' own rules."""
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

        model: Any = self._model
        rules = get_model_conversion_mapping(model)
        renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
        converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
        by_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
        expected = model.state_dict()
        for name in sorted(self.source.keys(), key=_natural):
            new, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, expected)
            if new not in expected and name in expected:
                new, pattern = name, None
            if pattern is None:
                self._renamed[new] = name
            else:
                group = self._groups.setdefault(new, Group(by_pattern[pattern], new))
                group.sources.setdefault(pattern, []).append(name)

    def _convert(self, group: Group, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        converter = deepcopy(group.converter)
        for pattern, name in _members(group):
            converter.add_tensor(group.first, name, pattern, tensors[name])
        model: Any = self._model
        made = converter.convert(group.first, model=model, config=model.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


def in_one_layout(inputs: Sequence[Checkpoint]) -> list[Checkpoint]:
    """`inputs`, read as transformers loads them where that makes more of their names agree."""
    apart = _apart(inputs)
    kinds = {ckpt.config.get("model_type") for ckpt in inputs}
    if not apart or None in kinds or len(kinds) > 1:
        return list(inputs)
    try:
        loaded = [Loaded(ckpt) for ckpt in inputs]
    except Unsupported:  # then their names are what is told to the user
        return list(inputs)
    if not any(view.changes_names for view in loaded) or _apart(loaded) >= apart:
        return list(inputs)
    return list(loaded)


def _apart(inputs: Sequence[Checkpoint]) -> int:
    """How many names some inputs have and others lack."""
    counts = Counter(name for ckpt in inputs for name in ckpt.keys())
    return sum(count < len(inputs) for count in counts.values())


def _members(group: Group) -> list[tuple[str, str]]:
    return [(pattern, name) for pattern, names in group.sources.items() for name in names]


def _like(spec: Spec) -> Tensor:
    return torch.empty(spec.shape, dtype=spec.dtype, device="meta")


def _read(source: Checkpoint, name: str, dtype: torch.dtype) -> Tensor:
    spec = source.spec(name)
    out = torch.empty(spec.numel, dtype=dtype)
    source.read_into(name, 0, spec.numel, out)
    return out.view(spec.shape)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Numbers in a name by their value, as transformers orders what it stacks."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in name.split(".")]
