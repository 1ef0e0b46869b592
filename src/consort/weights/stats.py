"""What was collected of a model's weights on texts, kept as a checkpoint of the same names.

A statistics folder is read like a model's: safetensors, streamed. Its config.json holds a `Description` in the place of
an architecture, so that no program takes it for a model. Two kinds:

    fisher   for every floating tensor the mean squared gradient of a token's log-probability, of the tensor's shape
    gram     for every linear layer `w` [out, in] the mean of x x^T over its inputs, [in, in]; other tensors have none
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consort.core.errors import BadCheckpoint, Incompatible, listing
from consort.core.files import whole_file
from consort.weights.checkpoint import Checkpoint, Spec, bytes_of
from consort.weights.disk.header import encode

MODEL_TYPE = "consort_statistics"
SAMPLE = 256
"""Entries of each tensor that tell one model from another."""

Shape = tuple[int, ...]
KINDS: Mapping[str, Callable[[Shape], Shape]] = {
    "fisher": lambda shape: shape,
    "gram": lambda shape: shape[-1:] * 2,
}
"""The shape of a statistic, given that of the tensor it is about."""


@dataclass(frozen=True, slots=True)
class Description:
    """Where statistics come from: `labels` "sampled", "empirical" or "", numbers of texts and tokens, and the model."""

    kind: str
    labels: str
    texts: int
    tokens: int
    seed: int
    model: str
    fingerprint: str

    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        return {"model_type": MODEL_TYPE, "statistics": asdict(self)}


def is_statistics(ckpt: Checkpoint) -> bool:
    """Whether a checkpoint says that it holds statistics rather than a model."""
    return ckpt.config.get("model_type") == MODEL_TYPE


def description(statistics: Checkpoint) -> Description | None:
    """What a checkpoint of statistics says of itself, None for one without any configuration (tensors in memory).

    Raises BadCheckpoint for one that is something else, a model for instance.
    """
    if not statistics.config:
        return None
    found = statistics.config.get("statistics")
    wanted = {field.name for field in fields(Description)}
    if not isinstance(found, Mapping) or not wanted <= set(found):
        hint = "give a folder that `consort collect` wrote"
        raise BadCheckpoint("holds no statistics", field=statistics.name, hint=hint)
    return Description(**{name: found[name] for name in wanted})


def fingerprint(model: Checkpoint) -> str:
    """Tells a model from its fine-tunes: a hash of names, shapes and the first entries of each floating tensor."""
    digest = hashlib.blake2b(digest_size=16)
    names = sorted(model.keys())
    for name in names:
        spec = model.spec(name)
        if spec.dtype.is_floating_point:
            first = torch.empty(min(SAMPLE, spec.numel))
            model.read_into(name, 0, len(first), first)
            digest.update(f"{name}\0{spec.shape}\0".encode())
            digest.update(bytes_of(first))
    return digest.hexdigest()


def check_statistics(statistics: Checkpoint, kind: str, model: Checkpoint) -> None:
    """Raises Incompatible unless `statistics` are of this kind and, by their headers, of this model."""
    known = description(statistics)
    if known is not None and known.kind != kind:
        hint = f"`consort collect {kind}` makes the right ones"
        raise Incompatible(f"these are {known.kind} statistics, not {kind}", field=statistics.name, hint=hint)
    faults = list(_faults(statistics, kind, model))
    if faults:
        raise Incompatible(listing(faults), field=statistics.name, hint=f"collect them of {model.name}")


def _faults(statistics: Checkpoint, kind: str, model: Checkpoint) -> Sequence[str]:
    specs = {name: model.spec(name) for name in model.keys()}
    found = {name: statistics.spec(name) for name in statistics.keys()}
    faults = [f"{name} is not in {model.name}" for name in found if name not in specs]
    for name, spec in specs.items():
        if name not in found:
            if kind == "fisher" and spec.dtype.is_floating_point:
                faults.append(f"there are none of {name}")
        elif found[name].shape != KINDS[kind](spec.shape):
            faults.append(f"{name} is {list(found[name].shape)}, which does not go with {list(spec.shape)}")
    return faults


def verify(statistics: Checkpoint, model: Checkpoint) -> None:
    """Raises Incompatible where `statistics` tell that they were collected of another model; reads a little of it."""
    known = description(statistics)
    if known is not None and known.fingerprint != fingerprint(model):
        hint = "give them in the order of the models; weights that were changed, cast or permuted need new ones"
        raise Incompatible(f"was collected of {known.model}, not of {model.name}", field=statistics.name, hint=hint)


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, whole or not at all."""
    with whole_file(path) as file:
        file.write(encode({name: Spec(tuple(t.shape), t.dtype) for name, t in tensors.items()}))
        for tensor in tensors.values():
            file.write(bytes_of(tensor.contiguous().view(-1)))
