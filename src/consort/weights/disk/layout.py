"""Where every tensor of an output will lie, decided before a byte is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from consort.weights.adapters.files import ADAPTER_WEIGHTS, is_adapter_config
from consort.weights.checkpoint import Checkpoint, Spec
from consort.weights.disk.folder_check import INDEX, SINGLE
from consort.weights.disk.header import encode


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's first byte in file number `shard`."""

    name: str
    spec: Spec
    shard: int
    offset: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A file to be: its header, its tensors in order, its size."""

    file: str
    header: bytes
    specs: Mapping[str, Spec]

    @property
    def tensor_bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the whole file, its header among them."""
        return len(self.header) + self.tensor_bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """Which tensor stands in which file, and where."""

    shards: Sequence[Shard]

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(shard.tensor_bytes for shard in self.shards)

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(shard.nbytes for shard in self.shards)

    @property
    def specs(self) -> dict[str, Spec]:
        """Shape and dtype of each tensor, by name."""
        return {name: spec for shard in self.shards for name, spec in shard.specs.items()}

    def places(self) -> Iterator[Place]:
        """The file of each tensor, by name."""
        for number, shard in enumerate(self.shards):
            offset = len(shard.header)
            for name, spec in shard.specs.items():
                yield Place(name, spec, number, offset)
                offset += spec.nbytes

    def index(self) -> dict[str, object] | None:
        """Content of the index file, or None for a single file."""
        if len(self.shards) == 1:
            return None
        weight_map = {name: shard.file for shard in self.shards for name in shard.specs}
        return {"metadata": {"total_size": self.tensor_bytes}, "weight_map": weight_map}

    @property
    def files(self) -> list[str]:
        return [shard.file for shard in self.shards] + ([INDEX] if len(self.shards) > 1 else [])


def layout(ckpt: Checkpoint, *, out_dtype: torch.dtype | None, shard_bytes: int) -> Layout:
    """Files of at most `shard_bytes` of tensors (one tensor at least), tensors in the order of `ckpt`.

    Floating tensors get `out_dtype`; all others keep their own. Inside a file wider dtypes come first, so that every
    tensor is aligned to its entries. An adapter is one file, whatever its size: peft reads no other.
    """
    adapter = is_adapter_config(ckpt.config)
    groups: list[dict[str, Spec]] = [{}]
    size = 0
    names = ckpt.keys()
    for name in names:
        spec = written(ckpt.spec(name), out_dtype)
        if groups[-1] and size + spec.nbytes > shard_bytes and not adapter:
            groups.append({})
            size = 0
        groups[-1][name] = spec
        size += spec.nbytes
    if adapter:
        return Layout([_shard(groups[0], ADAPTER_WEIGHTS)])
    many = [f"model-{number:05d}-of-{len(groups):05d}.safetensors" for number in range(1, len(groups) + 1)]
    files = many if len(many) > 1 else [SINGLE]
    return Layout([_shard(group, file) for group, file in zip(groups, files, strict=True)])


def written(spec: Spec, out_dtype: torch.dtype | None) -> Spec:
    """A tensor's shape and dtype in an output of `out_dtype`."""
    return Spec(spec.shape, out_dtype) if out_dtype and spec.dtype.is_floating_point else spec


def _shard(group: Mapping[str, Spec], file: str) -> Shard:
    aligned = dict(sorted(group.items(), key=lambda item: -item[1].dtype.itemsize))
    return Shard(file, encode(aligned), aligned)
