"""A low-rank adapter in peft's format laid over its base, as a checkpoint: W + s B A, computed when it is read.

LoRA: 2106.09685; s = alpha / r, or alpha / sqrt(r) with `use_rslora` (2312.03732). DoRA: 2402.09353, where each output
row of W + s B A gets the learned norm m. Needs no peft and writes no intermediate file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import sqrt
from os.path import isfile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadCheckpoint, Incompatible, Unsupported, listing
from consort.weights.checkpoint import BLOCK, Checkpoint, Spec, no_tensor, round_into, whole
from consort.weights.family import role_of
from consort.weights.folder import BESIDE, check_directory, describe_files, label, read_headers
from consort.weights.paths import inside, present, read_json
from consort.weights.shards import Shards

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
FACTOR = re.compile(
    r"(?P<module>.+)\.(?:lora_(?P<embedding>embedding_)?(?P<part>[AB])|(?P<norm>lora_magnitude_vector))"
    r"(?:\.default)?(?:\.weight)?"
)
WRAPPERS = re.compile(r"\.(?:modules_to_save(?:\.default)?|base_layer)(?=\.)")
STRANGE = ("layer_replication", "lora_bias", "megatron_config", "alora_invocation_tokens")
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways of initialisation that also change the base, so that A and B do not belong to the base as published."""


class Adapter:
    """The tensors of an adapter folder, as they are stored; `config` is its adapter_config.json."""

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
        return self.shards.keys()

    def spec(self, name: str) -> Spec:
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
        return {**present(self.path, BESIDE)}

    def describe(self, *, content: bool = False) -> dict[str, Any]:
        found = present(self.path, (ADAPTER_CONFIG, *BESIDE))
        return describe_files(self.name, self.revision, self.shards, found, content=content)

    def stamp(self) -> list[Any]:
        """Changes whenever the weights or the configuration do."""
        files = [[path.name, *header.identity[2:], header.digest] for path, header in self.shards.headers.items()]
        return [*files, dict(self.config)]

    def close(self) -> None:
        if "shards" in self.__dict__:
            self.shards.close()


@dataclass(frozen=True, slots=True)
class LowRank:
    """How one weight changes: the adapter's names of its factors, and their scale.

    `transposed`: the weight is stored input by output, as are embeddings and Conv1D. `norm` is DoRA's m.
    """

    a: str
    b: str
    scale: float
    transposed: bool
    norm: str | None = None


class Adapted:
    """`base` with an adapter applied. A weight that the adapter replaces (`modules_to_save`, biases) is its own.

    Every tensor of the adapter must change a weight of the base; those that do not are all named in one error.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter | str | Path) -> None:
        self.base = base
        self.adapter = adapter if isinstance(adapter, Adapter) else Adapter(adapter)
        self.name = f"{base.name}+{self.adapter.name}"
        self.changes, self.replaced = _resolve(base, self.adapter)
        self._factors = lru_cache(maxsize=4)(self._read_factors)

    @property
    def config(self) -> Mapping[str, Any]:
        return self.base.config

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (self.base, self.adapter)

    def keys(self) -> list[str]:
        return self.base.keys()

    def spec(self, name: str) -> Spec:
        spec = self.base.spec(name)
        return Spec(self.adapter.spec(self.replaced[name]).shape, spec.dtype) if name in self.replaced else spec

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name in self.changes:
            self._read_changed(name, start, stop, out)
        else:
            self._read_unchanged(name, start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return {**self.base.files(), **self.adapter.files()}

    def _read_unchanged(self, name: str, start: int, stop: int, out: Tensor) -> None:
        """W: the base's, unless the adapter brings its own (as peft saves an embedding beside its factors)."""
        if name in self.replaced:
            self.adapter.read_into(self.replaced[name], start, stop, out)
        else:
            self.base.read_into(name, start, stop, out)

    def _read_changed(self, name: str, start: int, stop: int, out: Tensor) -> None:
        """By blocks of whole rows that do not depend on `start`: the same entry always has the same bits."""
        rows, columns = self.spec(name).shape
        block = max(1, BLOCK // max(1, columns))
        for first in range(start // columns // block * block, rows, block):
            low, high = first * columns, min(rows, first + block) * columns
            if low >= stop:
                return
            values = self._rows(name, first, min(rows, first + block)).view(-1)
            begin, end = max(low, start), min(high, stop)
            round_into(values[begin - low : end - low], out[begin - start : end - start])

    def _rows(self, name: str, first: int, last: int) -> Float[Tensor, "rows columns"]:
        left, right, norm = self._factors(name)
        columns = right.shape[1]
        weight = torch.empty((last - first) * columns, dtype=right.dtype)
        self._read_unchanged(name, first * columns, last * columns, weight)
        changed = weight.view(-1, columns) + self.changes[name].scale * (left[first:last] @ right)
        if norm is None:
            return changed
        scaled: Tensor = changed * (norm[first:last] / torch.linalg.vector_norm(changed, dim=1)).unsqueeze(1)
        return scaled

    def _read_factors(
        self, name: str
    ) -> tuple[Float[Tensor, "rows rank"], Float[Tensor, "rank columns"], Float[Tensor, " rows"] | None]:
        change = self.changes[name]
        dtype = torch.float64 if self.base.spec(name).dtype == torch.float64 else torch.float32
        a, b = (self.adapter[key].to(dtype) for key in (change.a, change.b))
        left, right = (a.T, b.T) if change.transposed else (b, a)
        norm = None if change.norm is None else self.adapter[change.norm].to(dtype).view(-1)
        return left.contiguous(), right.contiguous(), norm


def open_adapter(path: str | Path) -> Adapter:
    """The adapter in a folder, its configuration and header checked now. Raises BadCheckpoint, Unsupported."""
    adapter = Adapter(path)
    field = str(adapter.path / ADAPTER_CONFIG)
    config = adapter.config
    if config.get("peft_type") != "LORA":
        raise Unsupported(f"peft_type {config.get('peft_type')!r}", field=field, hint="only LORA can be applied")
    used = [key for key in STRANGE if config.get(key)]
    used += [key for key in ("init_lora_weights",) if str(config.get(key)).lower().startswith(CHANGES_BASE)]
    if used:
        hint = "merge it with peft (merge_and_unload) and use the merged model"
        raise Unsupported(f"the adapter uses {listing(used)}", field=field, hint=hint)
    adapter.shards  # noqa: B018  (reads and checks)
    return adapter


def _resolve(base: Checkpoint, adapter: Adapter) -> tuple[dict[str, LowRank], dict[str, str]]:
    """For every weight of `base` that changes: how, or by which tensor of `adapter` it is replaced."""
    known = dict.fromkeys(base.keys())
    parts: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    lost = []
    keys = adapter.keys()
    for key in keys:
        match = FACTOR.fullmatch(key.removeprefix(PREFIX))
        name = WRAPPERS.sub("", f"{match['module']}.weight" if match else key.removeprefix(PREFIX))
        if name not in known:
            lost.append(key)
        elif match:
            parts.setdefault(name, {})[_part(match)] = key
        else:
            replaced[name] = key
    if lost:
        hint = f"is it an adapter for {base.name}? it names {adapter.config.get('base_model_name_or_path')!r}"
        raise Incompatible(f"no weight to adapt for {listing(lost)}", field=adapter.name, hint=hint)
    changes = {name: _low_rank(adapter, name, found) for name, found in parts.items()}
    shapes = {name: (adapter.spec(replaced[name]) if name in replaced else base.spec(name)).shape for name in changes}
    faults = [fault for name, change in changes.items() if (fault := _shape_fault(shapes[name], adapter, name, change))]
    faults += [fault for name, key in replaced.items() if (fault := _replace_fault(base, adapter, name, key))]
    if faults:
        raise Incompatible(listing(faults), field=adapter.name, hint=f"is it an adapter for {base.name}?")
    return changes, replaced


def _part(match: re.Match[str]) -> str:
    return "norm" if match["norm"] else f"{match['embedding'] or ''}{match['part']}"


def _low_rank(adapter: Adapter, name: str, parts: Mapping[str, str]) -> LowRank:
    embedding = any(part.startswith("embedding_") for part in parts)
    prefix = "embedding_" if embedding else ""
    a, b, norm = parts.get(f"{prefix}A"), parts.get(f"{prefix}B"), parts.get("norm")
    if a is None or b is None or (norm is None) == bool(adapter.config.get("use_dora", False)):
        have = ", ".join(parts.values())
        raise BadCheckpoint(f"{name} has only {have}", field=adapter.name, hint="the adapter is incomplete")
    transposed = embedding or bool(adapter.config.get("fan_in_fan_out", False))
    if norm and transposed:
        raise Unsupported(f"DoRA on {name}", field=adapter.name, hint="merge it with peft (merge_and_unload)")
    rank = (adapter.spec(a).shape or (0,))[0]
    return LowRank(a, b, _scale(adapter, name.removesuffix(".weight"), rank), transposed, norm)


def _scale(adapter: Adapter, module: str, rank: int) -> float:
    """s for a module whose factors have `rank`, which must be the rank that the configuration gives it."""
    config, field = adapter.config, str(adapter.path / ADAPTER_CONFIG)
    configured = _by_pattern(config.get("rank_pattern"), module, config.get("r"), field)
    if rank < 1 or configured != rank:
        message = f"the factors of {module} have rank {rank}, the configuration says {configured}"
        raise Incompatible(message, field=field, hint="weights and configuration are of different adapters")
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"), field)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise BadCheckpoint(f"{alpha!r} is no number", field=f"{field}: lora_alpha", hint="give the adapter's alpha")
    return alpha / sqrt(rank) if config.get("use_rslora") else alpha / rank


def _by_pattern(patterns: Any, module: str, default: Any, field: str) -> Any:
    """The value of the first pattern that matches the end of `module`, as peft reads them; else `default`."""
    for pattern, value in (patterns or {}).items() if isinstance(patterns, dict | None) else ():
        if module == pattern or module.endswith(f".{pattern}"):
            return value
        if re.fullmatch(r"[\w.]*", pattern):
            continue
        # A repeated group can take for ever to match, and the pattern comes from a stranger.
        if re.search(r"\)[*+{]", pattern) or len(pattern) > 1000:
            raise Unsupported(f"the pattern {pattern!r:.80}", field=field, hint="use module names")
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            message = f"the pattern {pattern!r:.80} is invalid: {error}"
            raise BadCheckpoint(message, field=field, hint="mend the pattern") from None
    return default


def _shape_fault(shape: tuple[int, ...], adapter: Adapter, name: str, change: LowRank) -> str | None:
    a, b = adapter.spec(change.a).shape, adapter.spec(change.b).shape
    if len(a) != 2 or len(b) != 2 or len(shape) != 2:
        return f"{name} is no matrix ({list(shape)} with factors {list(a)} and {list(b)})"
    delta = (a[1], b[0]) if change.transposed else (b[0], a[1])
    if delta != shape or a[0] != b[1]:
        return f"{name} is {list(shape)}, its factors are {list(a)} and {list(b)}"
    rows = adapter.spec(change.norm).numel if change.norm else shape[0]
    return None if rows == shape[0] else f"{name} has {shape[0]} rows and {rows} norms"


def _replace_fault(base: Checkpoint, adapter: Adapter, name: str, key: str) -> str | None:
    """A replaced tensor has the shape of the base's; only a vocabulary may have grown."""
    old, new = base.spec(name).shape, adapter.spec(key).shape
    grown = role_of(name) in ("embedding", "head") and old[1:] == new[1:]
    return None if old == new or grown else f"{name} is {list(old)}, its replacement {list(new)}"
