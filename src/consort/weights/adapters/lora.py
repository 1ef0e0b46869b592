"""A low-rank adapter in peft's format laid over its base, as a checkpoint: W + s B A, computed when it is read.

LoRA: 2106.09685; s = alpha / r, or alpha / sqrt(r) with `use_rslora` (2312.03732). DoRA: 2402.09353, where each output
of W + s B A gets the learned norm m. Needs no peft and writes no intermediate file.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from math import prod
from os.path import isfile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.binding import described
from consort.core.errors import BadCheckpoint
from consort.weights.adapters.changes import Changes
from consort.weights.adapters.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from consort.weights.adapters.peft_config import peft_config
from consort.weights.adapters.placing import placed
from consort.weights.checkpoint import BLOCK, Checkpoint, Spec, no_tensor, round_into, whole
from consort.weights.disk.beside import files_beside
from consort.weights.disk.folder import describe_files
from consort.weights.disk.folder_check import BESIDE, check_directory, label, read_headers
from consort.weights.disk.paths import inside, present, read_json
from consort.weights.disk.shards import Shards
from consort.weights.tied import ends_of, untied


class Adapter:
    """The tensors of an adapter folder, as they are stored; `config` is its adapter_config.json."""

    __repr__ = described

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name, self.revision = label(self.path)
        self.inputs: tuple[Checkpoint, ...] = ()

    @cached_property
    def config(self) -> Mapping[str, Any]:
        check_directory(self.path)
        file = inside(self.path, ADAPTER_CONFIG, source=ADAPTER_CONFIG)
        if not isfile(file):
            raise BadCheckpoint("does not exist", field=str(file), hint="an adapter needs its configuration")
        return read_json(file)

    @cached_property
    def shards(self) -> Shards:
        return Shards(read_headers(self.path, ADAPTER_WEIGHTS, None))

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return self.shards.keys()

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        if name not in self.shards:
            raise no_tensor(self, name)
        return self.shards.spec(name)

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name not in self.shards:
            raise no_tensor(self, name)
        self.shards.read_into(name, start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return files_beside(self.path, BESIDE)

    def describe(self, *, content: bool = False) -> dict[str, Any]:
        """Its name, revision and files, with digests of their bytes where `content` says so."""
        found = present(self.path, (ADAPTER_CONFIG, *BESIDE))
        return describe_files(self.name, self.revision, self.shards, found, content=content)

    def stamp(self) -> list[Any]:
        """Changes whenever the weights or the configuration do."""
        files = [[path.name, *header.identity[2:], header.digest] for path, header in self.shards.headers.items()]
        return [*files, dict(self.config)]

    def close(self) -> None:
        """Close its file."""
        if "shards" in self.__dict__:
            self.shards.close()


class Adapted:
    """`base` with an adapter applied. A weight that the adapter replaces (`modules_to_save`, biases) is its own.

    `adapter` is a folder or any checkpoint whose `config` is an adapter's. Every tensor of it must change a weight of
    the base; those that do not are all named in one error. A head that is adapted apart from the embedding it is tied
    to becomes a tensor of its own, and the configuration says so.
    """

    __repr__ = described

    def __init__(self, base: Checkpoint, adapter: Checkpoint | str | Path) -> None:
        self.base = base
        self.adapter: Checkpoint = Adapter(adapter) if isinstance(adapter, str | Path) else adapter
        self.name = f"{base.name}+{self.adapter.name}"
        self._under: Checkpoint
        self._changes: Changes
        self._under, self._changes = placed(base, self.adapter)
        self._factors = lru_cache(maxsize=4)(self._read_factors)
        self._norms: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    @property
    def config(self) -> Mapping[str, Any]:
        config = self._under.config
        if not self._changes.head_of:
            return config
        return untied(config)

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (self.base, self.adapter)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        copy = ends_of(self._under).copy
        return [*(name for name in self._under.keys() if name != copy), *self._changes.head_of]

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        spec = self._under.spec(self._in_base(name))
        replaced = self._changes.replaced.get(name)
        return Spec(self.adapter.spec(replaced).shape, spec.dtype) if replaced else spec

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name in self._changes.low_rank:
            self._read_changed(name, start, stop, out)
        else:
            self._read_unchanged(name, start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return {**self.base.files(), **self.adapter.files()}

    def _in_base(self, name: str) -> str:
        return self._changes.head_of.get(name, name)

    def _read_unchanged(self, name: str, start: int, stop: int, out: Tensor) -> None:
        """W: the base's, unless the adapter brings its own (as peft saves an embedding beside its factors)."""
        if name in self._changes.replaced:
            self.adapter.read_into(self._changes.replaced[name], start, stop, out)
        else:
            self._under.read_into(self._in_base(name), start, stop, out)

    def _read_changed(self, name: str, start: int, stop: int, out: Tensor) -> None:
        """By blocks of whole rows that do not depend on `start`: the same entry always has the same bits."""
        *outer, columns = self.spec(name).shape
        rows, block = prod(outer), block_rows(columns)
        for first in range(start // columns // block * block, rows, block):
            low, high = first * columns, min(rows, first + block) * columns
            if low >= stop:
                return
            values = self._rows(name, first, min(rows, first + block)).view(-1)
            begin, end = max(low, start), min(high, stop)
            round_into(values[begin - low : end - low], out[begin - start : end - start])

    def _rows(self, name: str, first: int, last: int) -> Float[Tensor, "rows columns"]:
        changed = self._sum(name, first, last)
        change = self._changes.low_rank[name]
        if change.norm is None:
            return changed
        m = self._factors(name)[2]
        if change.transposed:
            return changed * (m / self._column_norms(name))
        scaled: Tensor = changed * (m[first:last] / torch.linalg.vector_norm(changed, dim=1)).unsqueeze(1)
        return scaled

    def _sum(self, name: str, first: int, last: int) -> Float[Tensor, "rows columns"]:
        """Rows [first, last) of W + s B A."""
        left, right, _ = self._factors(name)
        columns, per_expert = right.shape[2], left.shape[1]
        weight = torch.empty((last - first) * columns, dtype=right.dtype)
        self._read_unchanged(name, first * columns, last * columns, weight)
        total = weight.view(-1, columns)
        for expert in range(first // per_expert, -(-last // per_expert)):
            low, high = max(first, expert * per_expert), min(last, (expert + 1) * per_expert)
            rows = left[expert, low - expert * per_expert : high - expert * per_expert]
            total[low - first : high - first] += self._changes.low_rank[name].scale * (rows @ right[expert])
        return total

    def _column_norms(self, name: str) -> Float[Tensor, " columns"]:
        """||W + s B A|| of each output of a weight stored input by output: one pass over it, in order of blocks."""
        with self._lock:
            if name not in self._norms:
                rows, columns = self.spec(name).shape
                total = torch.zeros(columns, dtype=torch.float64)
                for first in range(0, rows, block_rows(columns)):
                    total += self._sum(name, first, min(rows, first + block_rows(columns))).double().square().sum(0)
                self._norms[name] = total.sqrt().to(self._factors(name)[1].dtype)
            return self._norms[name]

    def _read_factors(
        self, name: str
    ) -> tuple[Float[Tensor, "expert rows rank"], Float[Tensor, "expert rank columns"], Float[Tensor, " outputs"]]:
        change = self._changes.low_rank[name]
        double = self._under.spec(self._in_base(name)).dtype == torch.float64
        dtype = torch.float64 if double else torch.float32
        a, b = (self.adapter[key].to(dtype) for key in (change.a, change.b))
        a, b = a.view(change.experts, change.rank, -1), b.view(len(b), change.rank, change.experts).permute(2, 0, 1)
        left, right = (a.mT, b.mT) if change.transposed else (b, a)
        norm = self.adapter[change.norm].to(dtype).view(-1) if change.norm else torch.empty(0, dtype=dtype)
        return left.contiguous(), right.contiguous(), norm


def block_rows(columns: int) -> int:
    """Rows of a matrix that are computed together: about a block of entries."""
    return max(1, BLOCK // max(1, columns))


def open_adapter(path: str | Path) -> Adapter:
    """The adapter in a folder, its configuration and header checked now. Raises BadCheckpoint, Unsupported."""
    adapter = Adapter(path)
    peft_config(adapter)
    adapter.shards  # noqa: B018  (reads and checks)
    return adapter
