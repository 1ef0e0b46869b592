"""What lies outside the layers of several models, averaged: the ends of a stack (2410.05357, section 4.4).

Embeddings, norm and head are padded with zeros to the largest, and every entry is divided by the number of models that
have it: a token that one model alone knows keeps its row, where a plain mean of the padded tensors would halve it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consort.core.errors import Incompatible, listing
from consort.weights.checkpoint import CHUNK, Checkpoint, Spec, no_tensor, ranges, round_into, whole
from consort.weights.layers import Layers
from consort.weights.tied import ends_of
from consort.weights.vocabulary.read import Vocabulary, differences, read_vocabulary


class MeanEnds:
    """The mean of all tensors outside the layers of some models; integer tensors are the first model's.

    Tensors may differ in their number of rows. A tied model's head is its embedding where another has a head of its
    own. `donor` is the model whose tokenizer goes with them. Raises Incompatible for tensors that differ in more than
    their rows, and for a token that has another id in `donor`, or none.
    """

    def __init__(self, layouts: Sequence[Layers], donor: Checkpoint) -> None:
        models = [layers.model for layers in layouts]
        _check_tokens(models, donor)
        self.inputs: Sequence[Checkpoint] = tuple(models)
        self.name = f"mean({', '.join(model.name for model in models)})"
        self._sources = _sources(layouts)
        faults = [fault for name in self._sources for fault in self._faults(name)]
        if faults:
            raise Incompatible(listing(faults), field="ends", hint="average the ends of models of one width")

    @property
    def config(self) -> Mapping[str, Any]:
        return self.inputs[0].config

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._sources)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        specs = self._specs(name)
        shape, dtypes = max(spec.shape for spec in specs), {spec.dtype for spec in specs}
        return Spec(shape, dtypes.pop() if len(dtypes) == 1 else _sum_dtype(dtypes))

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        spec, sources = self.spec(name), self._sources[name]
        if not spec.dtype.is_floating_point:
            sources[0][0].read_into(sources[0][1], start, stop, out)
            return
        sizes = [found.numel for found in self._specs(name)]
        for low, high in ranges(stop - start, CHUNK):
            total, piece, count = torch.zeros(3, high - low, dtype=_sum_dtype({spec.dtype}))
            for (model, there), size in zip(sources, sizes, strict=True):
                own = min(start + high, size) - (start + low)
                if own <= 0:
                    continue
                model.read_into(there, start + low, start + low + own, piece[:own])
                total[:own] += piece[:own]
                count[:own] += 1
            round_into(total.div_(count), out[low:high])

    def files(self) -> Mapping[str, Path | bytes]:
        return self.inputs[0].files()

    def _specs(self, name: str) -> list[Spec]:
        if name not in self._sources:
            raise no_tensor(self, name)
        return [model.spec(there) for model, there in self._sources[name]]

    def _faults(self, name: str) -> list[str]:
        (first, _), *_ = self._sources[name]
        specs = self._specs(name)
        return [
            f"{name} is {list(specs[0].shape)} in {first.name}, {list(spec.shape)} in {model.name}"
            for (model, _), spec in zip(self._sources[name], specs, strict=True)
            if not _alike(spec, specs[0])
        ]


def _sum_dtype(dtypes: Set[torch.dtype]) -> torch.dtype:
    """What a mean is computed in: float32, or float64 where an input is."""
    return torch.float64 if torch.float64 in dtypes else torch.float32


def _check_tokens(models: Sequence[Checkpoint], donor: Checkpoint) -> None:
    """Refuse tokens that mean something else to the output's tokenizer; a model that tells none may have any."""
    known = read_vocabulary(donor)
    for model in models:
        own = read_vocabulary(model)
        if known is None or own is None:
            continue
        other = {token: i for token, i in own.ids.items() if known.ids.get(token) != i}
        theirs = {token: known.ids[token] for token in other if token in known.ids}
        found = differences(Vocabulary(other), Vocabulary(theirs), (model.name, donor.name))
        if found:
            hint = "name the model with the larger vocabulary as base; tokens that both have need one id"
            raise Incompatible(f"the vocabularies differ: {'; '.join(found)}", field="ends", hint=hint)


def _sources(layouts: Sequence[Layers]) -> dict[str, list[tuple[Checkpoint, str]]]:
    """For each name outside the layers the models that have it, and what it is called there."""
    ends = [ends_of(layers.model) for layers in layouts]
    heads = {end.own_head for end in ends}
    names = dict.fromkeys(
        name for layers, end in zip(layouts, ends, strict=True) for name in layers.outside if name != end.copy
    )
    found: dict[str, list[tuple[Checkpoint, str]]] = {name: [] for name in names}
    for layers, end in zip(layouts, ends, strict=True):
        own = dict.fromkeys(layers.outside)
        for name, sources in found.items():
            if name in heads and end.tied and end.embedding:
                sources.append((layers.model, end.embedding))
            elif name in own:
                sources.append((layers.model, name))
    return found


def _alike(one: Spec, other: Spec) -> bool:
    if not one.dtype.is_floating_point or not other.dtype.is_floating_point:
        return one == other
    return len(one.shape) == len(other.shape) and one.shape[1:] == other.shape[1:]
