"""Layers of several checkpoints stacked anew, as a checkpoint: nothing is copied until it is read.

Depth up-scaling: Kim et al. 2023, SOLAR 10.7B (arXiv 2312.15166). What comes before the layers (embeddings) is the
first slice's, what comes after them (final norm, head) the last one's; or both are the mean of all models (2410.05357).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import Tensor

from consort.core.dtypes import FloatName, torch_dtype
from consort.core.errors import BadParameter, Incompatible, listing
from consort.core.params import Range
from consort.weights.checkpoint import Checkpoint, Spec, no_tensor, whole
from consort.weights.disk.config_fit import fitted
from consort.weights.family import differences, role_of, text_config
from consort.weights.layers import Layers, after_layers
from consort.weights.registry import view
from consort.weights.tied import ends_of
from consort.weights.views.mean_ends import MeanEnds
from consort.weights.views.per_layer import Origin, depth_of, for_layers, tells_layers
from consort.weights.vocabulary.align import align_vocabularies

ENDS = ("outer", "first", "mean")
DEPTHS = ("same", "sum")


@dataclass(frozen=True, slots=True)
class Slice:
    """Layers [a, b) of `model`, counted from 0."""

    model: Checkpoint
    layers: tuple[int, int]


@view(paper="2312.15166")
class Stack:
    """Layers of several models as one model, numbered anew; embeddings of the first, norm and head of the last slice.

    `slices`: which layers of which model, each [a, b); `base`: gives configuration, tokenizer and all else beside the
    weights, else the first slice's model; `dtype`: of the output, else each tensor keeps its own; `first_layer`: the
    number that the first layer gets; `ends: first`: norm and head are the first slice's too; `ends: mean`: embeddings,
    norm and head are the mean of all models', padded with zeros to the largest, an entry over the models that have it.
    Raises BadParameter, Incompatible, Unsupported.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        *,
        base: Checkpoint | None = None,
        dtype: FloatName | None = None,
        first_layer: Annotated[int, Range(0, inf)] = 0,
        ends: Literal["outer", "first", "mean"] = "outer",
    ) -> None:
        self.slices, self.base, self.dtype = tuple(slices), base, dtype
        self.first_layer, self.ends = first_layer, ends
        if not self.slices:
            raise BadParameter("there is none", field="slices", hint="slices: [{model: a, layers: [0, 4]}, ...]")
        _check_choice(ends, "ends", ENDS)
        self._rounded = None if dtype is None else torch_dtype(dtype)
        found = {id(part.model): Layers(part.model) for part in self.slices}
        layouts = [found[id(part.model)] for part in self.slices]
        mean = MeanEnds(list(found.values()), self._donor) if ends == "mean" else None
        outer = layouts[0], layouts[0 if ends == "first" else -1]
        if mean is None:
            donors = (self._donor, *(layers.model for layers in outer))
            align_vocabularies(list({id(donor): donor for donor in donors}.values()))
        _check_ranges(self.slices, layouts)
        self.name = f"stack({', '.join(f'{s.model.name}[{s.layers[0]}:{s.layers[1]}]' for s in self.slices)})"
        self._origin = dict(_origins(self.slices, layouts, first_layer, mean or outer))
        specs = {name: self.spec(name) for name in self._origin}
        config = _config(self._donor, self.slices, layouts)
        untied = _untied(layouts if mean else outer[1:], self._origin)
        self.config: Mapping[str, Any] = fitted(config, specs, untied=untied)

    @property
    def _donor(self) -> Checkpoint:
        return self.base if self.base is not None else self.slices[0].model

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        """The slices' models, each once, then the base."""
        models = [part.model for part in self.slices] + ([] if self.base is None else [self.base])
        return tuple({id(model): model for model in models}.values())

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._origin)

    def locate(self, name: str) -> tuple[Checkpoint, str]:
        """The checkpoint that a tensor comes from, and its name there."""
        if name not in self._origin:
            raise no_tensor(self, name)
        return self._origin[name]

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        source, there = self.locate(name)
        spec = source.spec(there)
        return Spec(spec.shape, self._rounded) if self._rounded and spec.dtype.is_floating_point else spec

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        source, there = self.locate(name)
        source.read_into(there, start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return self._donor.files()


@view(paper="2312.15166")
def upscale(*, model: Checkpoint, drop: Annotated[int, Range(0, inf)]) -> Stack:
    """Depth up-scaling: a model stacked on itself, without the last `drop` layers below and the first `drop` above."""
    layers = Layers(model)
    if drop >= layers.count:
        hint = f"a whole number below {layers.count}"
        raise BadParameter(f"{drop} of {layers.count} layers leaves none", field="drop", hint=hint)
    low, high = layers.low, layers.low + layers.count
    return Stack([Slice(model, (low, high - drop)), Slice(model, (low + drop, high))])


@view(paper="2410.05357")
def interleave(
    *,
    models: Sequence[Checkpoint],
    block: Annotated[int, Range(1, inf)] = 1,
    depth: Literal["same", "sum"] = "same",
    ends: Literal["outer", "first", "mean"] = "outer",
) -> Stack:
    """Layers of models in turn: `block` layers of the first, the next `block` of the second, and so on.

    With `depth: sum` every layer of every model is there, 1.0, 2.0, 1.1, 2.1, ..., and a model that has no more is
    passed over; otherwise the models have one depth, which the output has too. `ends` as in `stack`.
    """
    _check_choice(depth, "depth", DEPTHS)
    layers = [Layers(model) for model in models]
    if depth == "same":
        return Stack(_in_turn(models, layers, block), ends=ends)
    deepest = max((found.count for found in layers), default=0)
    slices = [
        Slice(model, (found.low + a, found.low + min(a + block, found.count)))
        for a in range(0, deepest, block)
        for model, found in zip(models, layers, strict=True)
        if a < found.count
    ]
    return Stack(slices, ends=ends)


def _in_turn(models: Sequence[Checkpoint], layers: Sequence[Layers], block: int) -> list[Slice]:
    """At every depth a layer of one model, the models taking turns."""
    depths = {found.count for found in layers}
    if len(depths) != 1:
        counts = ", ".join(f"{found.count} in {m.name}" for found, m in zip(layers, models, strict=True))
        raise Incompatible(f"the numbers of layers differ: {counts}", field="models", hint="models of one depth")
    low, high = layers[0].low, layers[0].low + layers[0].count
    starts = range(low, high, block)
    return [Slice(models[i % len(models)], (a, min(a + block, high))) for i, a in enumerate(starts)]


def origin(checkpoint: Checkpoint, name: str) -> tuple[Checkpoint, str]:
    """Where a tensor comes from below any stacks: a checkpoint that is none, and the tensor's name there."""
    while isinstance(checkpoint, Stack):
        checkpoint, name = checkpoint.locate(name)
    return checkpoint, name


def identity(checkpoint: Checkpoint, name: str) -> tuple[Any, ...]:
    """Tells whether two tensors are the same without reading them: equal where they are computed alike."""
    source, there = origin(checkpoint, name)
    computed = getattr(source, "identity", None)
    found: tuple[Any, ...] = computed(there) if computed else (id(source), there)
    return found


def _check_ranges(slices: Sequence[Slice], layouts: Sequence[Layers]) -> None:
    faults = []
    for i, (part, layers) in enumerate(zip(slices, layouts, strict=True)):
        start, stop = part.layers
        if not start < stop:
            faults.append(f"slices[{i}]: the range [{start}, {stop}] holds no layer")
        elif not all(layer in layers.inside for layer in range(start, stop)):
            last = layers.low + layers.count
            faults.append(f"slices[{i}]: [{start}, {stop}] is not inside the layers [{layers.low}, {last}]")
    if faults:
        hint = "layers: [a, b] is a, a + 1, ..., b - 1"
        raise BadParameter(listing(faults), field="layers", hint=hint)


def _origins(
    slices: Sequence[Slice], layouts: Sequence[Layers], first_layer: int, ends: MeanEnds | tuple[Layers, Layers]
) -> Iterator[tuple[str, tuple[Checkpoint, str]]]:
    """For each output name its source: before the layers, the layers in order, after them."""
    outside: list[tuple[Checkpoint, list[str]]] = (
        [(ends, ends.keys())] * 2 if isinstance(ends, MeanEnds) else [(end.model, end.outside) for end in ends]
    )
    (low, below), (high, above) = outside
    yield from ((name, (low, name)) for name in below if not after_layers(name))
    number = first_layer
    for part, layers in zip(slices, layouts, strict=True):
        for layer in range(*part.layers):
            for rest, name in layers.inside[layer].items():
                yield f"{layouts[0].prefix}{number}{rest}", (part.model, name)
            number += 1
    copies = () if isinstance(ends, MeanEnds) else {ends_of(end.model).copy for end in ends}
    yield from ((name, (high, name)) for name in above if after_layers(name) and name not in copies)
    if not isinstance(ends, MeanEnds):
        yield from _tied_head(*ends)


def _tied_head(first: Layers, last: Layers) -> Iterator[tuple[str, tuple[Checkpoint, str]]]:
    """The head of a tied last model: its embedding, unless that is the output's embedding anyway."""
    own, other = ends_of(last.model), ends_of(first.model)
    if not own.tied or own.embedding is None or other.embedding is None:
        return
    if identity(last.model, own.embedding) != identity(first.model, other.embedding):
        yield own.head or other.head or "lm_head.weight", (last.model, own.embedding)


def _config(donor: Checkpoint, slices: Sequence[Slice], layouts: Sequence[Layers]) -> dict[str, Any]:
    """The donor's configuration for the new depth and order of layers."""
    configs = [part.model.config for part in slices]
    depths = [depth_of(text_config(config)) or la.count for config, la in zip(configs, layouts, strict=True)]
    _check_alike([text_config(config) for config in configs], depths)
    every = zip(slices, layouts, configs, depths, strict=True)
    origins = [Origin(c, layer - la.low, depth) for part, la, c, depth in every for layer in range(*part.layers)]
    for _, layer, depth in origins:
        if layer >= depth:
            hint = f"the layers [0, {depth}]; those after them foretell further tokens"
            raise BadParameter(f"{layer} is no layer of {depth}", field="layers", hint=hint)
    return for_layers(donor.config, origins)


def _untied(layouts: Sequence[Layers], origins: Mapping[str, tuple[Checkpoint, str]]) -> bool:
    """Whether the output has a head of its own: that of a model of `layouts`, or the embedding of a tied one."""
    ends = [ends_of(layers.model) for layers in layouts]
    heads = {end.head or "lm_head.weight" for end in ends} & set(origins)
    tied = all(end.tied for end in ends)
    return any(not tied or role_of(origins[name][1]) == "embedding" for name in heads)


def _check_alike(configs: Sequence[Mapping[str, Any]], depths: Sequence[int]) -> None:
    """Refuses models that compute differently in more than the number of their layers."""
    alike = [
        {key: value for key, value in config.items() if not tells_layers(key, config, depth)}
        for config, depth in zip(configs, depths, strict=True)
    ]
    faults = [f"config {difference}" for difference in differences([c for c in alike if c])]
    if faults:
        raise Incompatible(listing(faults), field="slices", hint="stack layers of one architecture and width")


def _check_choice(value: str, field: str, known: Sequence[str]) -> None:
    if value not in known:
        raise BadParameter(f"{value!r} is unknown", field=field, hint=" | ".join(known))
