"""What an adapter's tensors change: read from its names and configuration, then fitted to a base.

A change is of low rank (factors A and B with their scale), or a replacement: `modules_to_save`, trained biases, and
the copy of an embedding that peft saves beside its factors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consort.core.errors import BadCheckpoint, Incompatible, Unsupported, listing
from consort.weights.adapters.files import PREFIX
from consort.weights.adapters.peft_config import PeftConfig, peft_config
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import layer_count, role_of
from consort.weights.tied import could_be_head, ends_of

FACTOR = re.compile(
    r"(?P<module>.+)\.(?:lora_(?P<embedding>embedding_)?(?P<part>[AB])|(?P<norm>lora_magnitude_vector))"
    r"(?:\.default)?(?:\.weight)?"
)
WRAPPERS = re.compile(r"\.(?:modules_to_save(?:\.default)?|base_layer)(?=\.)")


@dataclass(frozen=True, slots=True)
class LowRank:
    """How one weight changes: the adapter's names of its factors, their rank and scale.

    `transposed`: the weight is stored input by output, as are embeddings and Conv1D. `norm` is DoRA's m. A weight of
    several `experts` is a stack of as many matrices, each with its own rows of A and columns of B.
    """

    a: str
    b: str
    rank: int
    scale: float
    transposed: bool
    embedding: bool = False
    norm: str | None = None
    experts: int = 1


@dataclass(frozen=True, slots=True)
class Changes:
    """By weight name: how it changes by low rank, and by which tensor of the adapter it is replaced.

    `head_of`: heads that a tied base lacks, each with the embedding that stands for it.
    """

    low_rank: Mapping[str, LowRank]
    replaced: Mapping[str, str]
    head_of: Mapping[str, str] = field(default_factory=dict)


Resolve = Callable[[str, int, int], tuple[str, int, bool] | None]
"""For a module, the number of wrappers around a factor and of all of them: the parameter that it changes, its experts,
whether it is stored input by output; None for a module that is adapted as a whole."""


def read_changes(adapter: Checkpoint, resolve: Resolve | None = None) -> Changes:
    """All that an adapter changes, whatever its base. Raises BadCheckpoint, Incompatible, Unsupported.

    `resolve` finds the parameters of an adapter that has `target_parameters`: their names lie in the base alone.
    """
    config = peft_config(adapter)
    if config.parameters and resolve is None:
        hint = "lay it over its base, and merge the models that the adapters make"
        raise Unsupported("target_parameters are known with their base only", field=config.at, hint=hint)
    parts: dict[tuple[str, int], dict[str, str]] = {}
    replaced: dict[str, str] = {}
    keys = adapter.keys()
    for key in keys:
        match = FACTOR.fullmatch(key.removeprefix(PREFIX))
        if match:
            module = WRAPPERS.sub("", f"{match['module']}.weight").removesuffix(".weight")
            depth = match["module"].count(".base_layer") if config.parameters else 0
            parts.setdefault((module, depth), {})[_part(match)] = key
        else:
            replaced[WRAPPERS.sub("", key.removeprefix(PREFIX))] = key
    wrappers = Counter(module for module, _ in parts)
    low_rank: dict[str, LowRank] = {}
    for (module, depth), found in parts.items():
        target = resolve(module, depth, wrappers[module]) if resolve else None
        name, experts, transposed = target or (f"{module}.weight", 1, None)
        low_rank[name] = _low_rank(adapter, config, name, found, experts, transposed)
    return Changes(low_rank, replaced)


def renamed(changes: Changes, name: Callable[[str], str]) -> Changes:
    """`changes` of weights that are called otherwise."""
    return Changes(
        {name(key): change for key, change in changes.low_rank.items()},
        {name(key): there for key, there in changes.replaced.items()},
    )


def lost(base: Checkpoint, changes: Changes) -> list[str]:
    """The names that `base` has no weight for."""
    known, head_of = _known(base, changes)
    return [name for name in (*changes.low_rank, *changes.replaced) if name not in known and name not in head_of]


def fit_changes(base: Checkpoint, adapter: Checkpoint, changes: Changes) -> Changes:
    """`changes` where each has a weight of `base` of the right shape; all faults at once as Incompatible."""
    absent = set(lost(base, changes))
    keys = [key for name, key in changes.replaced.items() if name in absent]
    for name, change in changes.low_rank.items():
        if name in absent:
            keys += [key for key in (change.a, change.b, change.norm) if key]
    if keys:
        hint = f"is it an adapter for {base.name}? it names {adapter.config.get('base_model_name_or_path')!r}"
        raise Incompatible(f"no weight to adapt for {listing(keys)}", field=adapter.name, hint=hint)
    fitted = Changes(changes.low_rank, changes.replaced, _known(base, changes)[1])
    faults = _layer_faults(base, adapter)
    faults += [fault for name in changes.low_rank if (fault := _shape_fault(base, adapter, fitted, name))]
    faults += [fault for name in changes.replaced if (fault := _replace_fault(base, adapter, fitted, name))]
    if faults:
        raise Incompatible(listing(faults), field=adapter.name, hint=f"is it an adapter for {base.name}?")
    return fitted


def _known(base: Checkpoint, changes: Changes) -> tuple[Mapping[str, None], Mapping[str, str]]:
    """The base's own weights, and the heads that it lacks with the embeddings that stand for them."""
    copy = ends_of(base).copy
    known = dict.fromkeys(name for name in base.keys() if name != copy)
    return known, _heads(base, [name for name in (*changes.low_rank, *changes.replaced) if name not in known])


def _layer_faults(base: Checkpoint, adapter: Checkpoint) -> list[str]:
    """Layers that the configuration names and the base lacks."""
    layers = peft_config(adapter).layers
    count = layer_count(base.keys()) if layers else 0
    return [f"layers_to_transform names layer {layer} of {count}" for layer in layers if layer >= count]


def _heads(base: Checkpoint, names: list[str]) -> dict[str, str]:
    """Those of `names` that are the head of a tied base, with its embedding: such a head becomes one of its own."""
    ends = ends_of(base)
    if not ends.tied or ends.embedding is None:
        return {}
    return {name: ends.embedding for name in names if could_be_head(name, base)}


def _part(match: re.Match[str]) -> str:
    return "norm" if match["norm"] else f"{match['embedding'] or ''}{match['part']}"


def _low_rank(
    adapter: Checkpoint,
    config: PeftConfig,
    name: str,
    parts: Mapping[str, str],
    experts: int,
    stored_transposed: bool | None,
) -> LowRank:
    embedding = any(part.startswith("embedding_") for part in parts)
    prefix = "embedding_" if embedding else ""
    a, b, norm = parts.get(f"{prefix}A"), parts.get(f"{prefix}B"), parts.get("norm")
    if a is None or b is None or (norm is None) == (config.dora and stored_transposed is None):
        have = ", ".join(parts.values())
        raise BadCheckpoint(f"{name} has only {have}", field=adapter.name, hint="the adapter is incomplete")
    transposed = embedding or (config.fan_in_fan_out if stored_transposed is None else stored_transposed)
    shape = adapter.spec(a).shape
    rank = shape[0] // experts if shape else 0
    module = name if stored_transposed is not None else name.removesuffix(".weight")
    said = config.rank_of(module)
    if rank < 1 or said != rank or shape[0] % experts:
        message = f"the factors of {module} have rank {rank}, the configuration says {said}"
        raise Incompatible(message, field=config.at, hint="weights and configuration are of different adapters")
    scale = config.scale_of(module, rank)
    return LowRank(a, b, rank, scale, transposed, embedding, norm, experts)


def _shape_fault(base: Checkpoint, adapter: Checkpoint, changes: Changes, name: str) -> str | None:
    change = changes.low_rank[name]
    replaced = changes.replaced.get(name)
    shape = adapter.spec(replaced).shape if replaced else base.spec(changes.head_of.get(name, name)).shape
    a, b = adapter.spec(change.a).shape, adapter.spec(change.b).shape
    matrix = shape[-2:] if change.experts > 1 and len(shape) == 3 and shape[0] == change.experts else shape
    if len(a) != 2 or len(b) != 2 or len(matrix) != 2:
        return f"{name} is no matrix ({list(shape)} with factors {list(a)} and {list(b)})"
    delta = (a[1], b[0]) if change.transposed else (b[0], a[1])
    if delta != matrix or a[0] != b[1]:
        return f"{name} is {list(shape)}, its factors are {list(a)} and {list(b)}"
    norms = adapter.spec(change.norm).numel if change.norm else b[0]
    return None if norms == b[0] else f"{name} has {b[0]} outputs and {norms} norms"


def _replace_fault(base: Checkpoint, adapter: Checkpoint, changes: Changes, name: str) -> str | None:
    """A replaced tensor has the shape of the base's; only a vocabulary may have grown."""
    old, new = base.spec(changes.head_of.get(name, name)).shape, adapter.spec(changes.replaced[name]).shape
    grown = role_of(name) in ("embedding", "head") and old[1:] == new[1:]
    return None if old == new or grown else f"{name} is {list(old)}, its replacement {list(new)}"
