"""What of a decoder can be reordered without changing its function: hidden units of its MLPs, heads of its attention.

Heads keep their group (those that share keys and values), groups may change places, and the dimensions inside a head
stay, because rotary embeddings tell them apart. The residual stream stays too. A module that holds a tensor of unknown
meaning, or packs queries, keys and values in an order that its names do not tell, is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consort.weights.checkpoint import Checkpoint, Spec
from consort.weights.family import layer_of, role_of, text_config

TRANSPOSED = frozenset(("decision_transformer", "gpt2", "imagegpt", "openai-gpt"))
"""Values of `model_type` whose linear weights are stored input by output."""
PACKED = ("qkv_proj", "c_attn")
"""Modules that hold all queries, then all keys, then all values."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where units lie in a tensor: number k takes [offset + k width, offset + (k + 1) width) of an axis."""

    name: str
    axis: int
    count: int
    width: int = 1
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Units:
    """`count` things of one module that may change places; each has `inner` things that move with it or inside it."""

    module: str
    count: int
    members: tuple[Member, ...]
    inner: int = 0
    inner_members: tuple[Member, ...] = ()


def units_of(ckpt: Checkpoint) -> list[Units]:
    """All reorderable units of a checkpoint, by module, in its order; told from names, shapes and config alone."""
    modules: dict[str, dict[str, Spec]] = {}
    names = ckpt.keys()
    for name in names:
        if layer_of(name) is not None:
            for module in _modules(name):
                modules.setdefault(module, {})[name] = ckpt.spec(name)
    config = text_config(ckpt.config)
    found = (of_mlp(m, specs, config) or of_attention(m, specs, config) for m, specs in modules.items())
    return [units for units in found if units is not None]


def of_mlp(module: str, specs: Mapping[str, Spec], config: Mapping[str, Any]) -> Units | None:
    """Hidden units: rows of gate and up (with their biases and a norm between), columns of down."""
    out, into = _axes(config)
    down = [n for n in specs if role_of(n) == "mlp.down" and len(specs[n].shape) == 2]
    up = [n for n in specs if role_of(n) in ("mlp.up", "mlp.gate_up")]
    if len(down) != 1 or not up:
        return None
    width = specs[down[0]].shape[into]
    members = [Member(down[0], into, width)]
    for name, spec in specs.items():
        role, axis = role_of(name), out if len(spec.shape) == 2 else 0
        length = spec.shape[axis] if spec.shape else 0
        if role in ("mlp.up", "mlp.gate", "norm") and length == width:
            members.append(Member(name, axis, width))
        elif role == "mlp.gate_up" and length == 2 * width and len(spec.shape) < 3:
            members += [Member(name, axis, width), Member(name, axis, width, offset=width)]
        elif role != "mlp.down":
            return None
    return Units(module, width, tuple(members))


def of_attention(module: str, specs: Mapping[str, Spec], config: Mapping[str, Any]) -> Units | None:
    """Groups of heads that share keys and values: `members` are theirs, `inner_members` those of the queries."""
    heads = config.get("num_attention_heads") or config.get("n_head")
    hidden = config.get("hidden_size") or config.get("n_embd")
    if not isinstance(heads, int) or not isinstance(hidden, int) or heads < 1 or config.get("alibi"):
        return None
    groups = config.get("num_key_value_heads") or heads
    size = config.get("head_dim") or hidden // heads
    if not any(role_of(name) == "attention.o" for name in specs) or heads % groups:
        return None
    found = [_of_head(name, spec, config, heads, groups, size) for name, spec in specs.items()]
    if any(part is None for part in found):
        return None
    parts = [member for part in found for member in part or ()]
    shared = tuple(member for member, of_query in parts if not of_query)
    queries = tuple(member for member, of_query in parts if of_query)
    return Units(module, groups, shared, heads // groups, queries) if shared and queries else None


def _of_head(
    name: str, spec: Spec, config: Mapping[str, Any], heads: int, groups: int, size: int
) -> list[tuple[Member, bool]] | None:
    """The places of heads in a tensor and whether they are the queries'; none for one without, None if unknown."""
    out, into = _axes(config)
    role = role_of(name)
    if role == "attention.o":
        is_bias = len(spec.shape) == 1
        of_rows = [(Member(name, into, heads, size), True)]
        return [] if is_bias else of_rows if spec.shape[into] == heads * size else None
    axis = out if len(spec.shape) == 2 else 0
    length = spec.shape[axis] if spec.shape else 0
    if role == "norm":
        return _of_norm(name, length, heads, groups, size)
    counts = {"attention.q": heads, "attention.k": groups, "attention.v": groups}
    if role in counts:
        whole = length == counts[role] * size
        return [(Member(name, axis, counts[role], size), role == "attention.q")] if whole else None
    if role == "attention.qkv" and name.split(".")[-2] in PACKED and length == (heads + 2 * groups) * size:
        keys, values = heads * size, (heads + groups) * size
        shared = [(Member(name, axis, groups, size, offset), False) for offset in (keys, values)]
        return [(Member(name, axis, heads, size), True), *shared]
    return None


def _of_norm(name: str, length: int, heads: int, groups: int, size: int) -> list[tuple[Member, bool]] | None:
    """A norm inside one head says nothing of heads; one over all of them has its weights head by head."""
    if length == size:
        return []
    of_keys = "k_norm" in name
    count = groups if of_keys else heads
    return [(Member(name, 0, count, size), not of_keys)] if length == count * size else None


def _axes(config: Mapping[str, Any]) -> tuple[int, int]:
    """The axes of outputs and inputs of a linear weight."""
    return (1, 0) if config.get("model_type") in TRANSPOSED else (0, 1)


def _modules(name: str) -> list[str]:
    """Every module that a tensor lies in, from the outermost."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def members(units: Sequence[Units]) -> Iterator[tuple[Units, Member, bool]]:
    """Every place of every unit; True for the inner ones."""
    for one in units:
        yield from ((one, member, False) for member in one.members)
        yield from ((one, member, True) for member in one.inner_members)
