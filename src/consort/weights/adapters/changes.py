"""What an adapter's tensors change: read from its names and configuration, then fitted to a base.

A change is of low rank (factors A and B with their scale), or a replacement: `modules_to_save`, trained biases, and
the copy of an embedding that peft saves beside its factors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from consort.core.errors import BadCheckpoint, Incompatible, Unsupported, listing
from consort.weights.adapters.files import ADAPTER_CONFIG, PREFIX
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import role_of
from consort.weights.tied import could_be_head, ends_of

FACTOR = re.compile(
    r"(?P<module>.+)\.(?:lora_(?P<embedding>embedding_)?(?P<part>[AB])|(?P<norm>lora_magnitude_vector))"
    r"(?:\.default)?(?:\.weight)?"
)
WRAPPERS = re.compile(r"\.(?:modules_to_save(?:\.default)?|base_layer)(?=\.)")
STRANGE = (
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways of initialisation that also change the base, so that A and B do not belong to the base as published."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """How one weight changes: the adapter's names of its factors, their rank and scale.

    `transposed`: the weight is stored input by output, as are embeddings and Conv1D. `norm` is DoRA's m.
    """

    a: str
    b: str
    rank: int
    scale: float
    transposed: bool
    embedding: bool = False
    norm: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """By weight name: how it changes by low rank, and by which tensor of the adapter it is replaced.

    `head_of`: heads that a tied base lacks, each with the embedding that stands for it.
    """

    low_rank: Mapping[str, LowRank]
    replaced: Mapping[str, str]
    head_of: Mapping[str, str] = field(default_factory=dict)


def check_supported(adapter: Checkpoint) -> None:
    """Refuse an adapter that is no plain LoRA over an unchanged base. Raises Unsupported."""
    config, at = adapter.config, where(adapter)
    if config.get("peft_type") != "LORA":
        raise Unsupported(f"peft_type {config.get('peft_type')!r}", field=at, hint="only LORA can be applied")
    used = [key for key in STRANGE if config.get(key)]
    used += [key for key in ("init_lora_weights",) if str(config.get(key)).lower().startswith(CHANGES_BASE)]
    if used:
        hint = "merge it with peft (merge_and_unload) and use the merged model"
        raise Unsupported(f"the adapter uses {listing(used)}", field=at, hint=hint)


def where(adapter: Checkpoint) -> str:
    """The adapter's configuration, for messages."""
    path = getattr(adapter, "path", None)
    return str(path / ADAPTER_CONFIG) if path is not None else adapter.name


def read_changes(adapter: Checkpoint) -> Changes:
    """All that an adapter changes, whatever its base. Raises BadCheckpoint, Incompatible, Unsupported."""
    parts: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    keys = adapter.keys()
    for key in keys:
        match = FACTOR.fullmatch(key.removeprefix(PREFIX))
        name = WRAPPERS.sub("", f"{match['module']}.weight" if match else key.removeprefix(PREFIX))
        if match:
            parts.setdefault(name, {})[_part(match)] = key
        else:
            replaced[name] = key
    return Changes({name: _low_rank(adapter, name, found) for name, found in parts.items()}, replaced)


def fit_changes(base: Checkpoint, adapter: Checkpoint, changes: Changes) -> Changes:
    """`changes` where each has a weight of `base` of the right shape; all faults at once as Incompatible."""
    known = dict.fromkeys(name for name in base.keys() if name != ends_of(base).copy)
    head_of = _heads(base, [name for name in (*changes.low_rank, *changes.replaced) if name not in known])
    lost = [key for name, key in changes.replaced.items() if name not in known and name not in head_of]
    for name, change in changes.low_rank.items():
        if name not in known and name not in head_of:
            lost += [key for key in (change.a, change.b, change.norm) if key]
    if lost:
        hint = f"is it an adapter for {base.name}? it names {adapter.config.get('base_model_name_or_path')!r}"
        raise Incompatible(f"no weight to adapt for {listing(lost)}", field=adapter.name, hint=hint)
    fitted = Changes(changes.low_rank, changes.replaced, head_of)
    faults = [_shape_fault(base, adapter, fitted, name) for name in changes.low_rank]
    faults += [_replace_fault(base, adapter, fitted, name) for name in changes.replaced]
    found = [fault for fault in faults if fault]
    if found:
        raise Incompatible(listing(found), field=adapter.name, hint=f"is it an adapter for {base.name}?")
    return fitted


def _heads(base: Checkpoint, names: list[str]) -> dict[str, str]:
    """Those of `names` that are the head of a tied base, with its embedding: such a head becomes one of its own."""
    ends = ends_of(base)
    if not ends.tied or ends.embedding is None:
        return {}
    return {name: ends.embedding for name in names if could_be_head(name, base)}


def _part(match: re.Match[str]) -> str:
    return "norm" if match["norm"] else f"{match['embedding'] or ''}{match['part']}"


def _low_rank(adapter: Checkpoint, name: str, parts: Mapping[str, str]) -> LowRank:
    embedding = any(part.startswith("embedding_") for part in parts)
    prefix = "embedding_" if embedding else ""
    a, b, norm = parts.get(f"{prefix}A"), parts.get(f"{prefix}B"), parts.get("norm")
    if a is None or b is None or (norm is None) == bool(adapter.config.get("use_dora", False)):
        have = ", ".join(parts.values())
        raise BadCheckpoint(f"{name} has only {have}", field=adapter.name, hint="the adapter is incomplete")
    transposed = embedding or bool(adapter.config.get("fan_in_fan_out", False))
    shape = adapter.spec(a).shape
    rank = shape[0] if shape else 0
    return LowRank(a, b, rank, _scale(adapter, name.removesuffix(".weight"), rank), transposed, embedding, norm)


def _scale(adapter: Checkpoint, module: str, rank: int) -> float:
    """s for a module whose factors have `rank`, which must be the rank that the configuration gives it."""
    config, at = adapter.config, where(adapter)
    configured = _by_pattern(config.get("rank_pattern"), module, config.get("r"), at)
    if rank < 1 or configured != rank:
        message = f"the factors of {module} have rank {rank}, the configuration says {configured}"
        raise Incompatible(message, field=at, hint="weights and configuration are of different adapters")
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"), at)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise BadCheckpoint(f"{alpha!r} is no number", field=f"{at}: lora_alpha", hint="give the adapter's alpha")
    return alpha / sqrt(rank) if config.get("use_rslora") else alpha / rank


def _by_pattern(patterns: Any, module: str, default: Any, at: str) -> Any:
    """The value of the first pattern that matches the end of `module`, as peft reads them; else `default`."""
    for pattern, value in (patterns or {}).items() if isinstance(patterns, dict | None) else ():
        if module == pattern or module.endswith(f".{pattern}"):
            return value
        if re.fullmatch(r"[\w.]*", pattern):
            continue
        # A repeated group can take for ever to match, and the pattern comes from a stranger.
        if re.search(r"\)[*+{]", pattern) or len(pattern) > 1000:
            raise Unsupported(f"the pattern {pattern!r:.80}", field=at, hint="use module names")
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            message = f"the pattern {pattern!r:.80} is invalid: {error}"
            raise BadCheckpoint(message, field=at, hint="mend the pattern") from None
    return default


def _shape_fault(base: Checkpoint, adapter: Checkpoint, changes: Changes, name: str) -> str | None:
    change = changes.low_rank[name]
    replaced = changes.replaced.get(name)
    shape = adapter.spec(replaced).shape if replaced else base.spec(changes.head_of.get(name, name)).shape
    a, b = adapter.spec(change.a).shape, adapter.spec(change.b).shape
    if len(a) != 2 or len(b) != 2 or len(shape) != 2:
        return f"{name} is no matrix ({list(shape)} with factors {list(a)} and {list(b)})"
    delta = (a[1], b[0]) if change.transposed else (b[0], a[1])
    if delta != shape or a[0] != b[1]:
        return f"{name} is {list(shape)}, its factors are {list(a)} and {list(b)}"
    norms = adapter.spec(change.norm).numel if change.norm else b[0]
    return None if norms == b[0] else f"{name} has {b[0]} outputs and {norms} norms"


def _replace_fault(base: Checkpoint, adapter: Checkpoint, changes: Changes, name: str) -> str | None:
    """A replaced tensor has the shape of the base's; only a vocabulary may have grown."""
    old, new = base.spec(changes.head_of.get(name, name)).shape, adapter.spec(changes.replaced[name]).shape
    grown = role_of(name) in ("embedding", "head") and old[1:] == new[1:]
    return None if old == new or grown else f"{name} is {list(old)}, its replacement {list(new)}"
