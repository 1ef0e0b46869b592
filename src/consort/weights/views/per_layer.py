"""The part of a configuration that tells layers apart, for layers put in another order.

Three ways of writing it are known: a list with an entry for each layer, a list of numbers of layers, and rules such as
"the first k are dense" or "every second one". Lists are rearranged and renumbered, rules solved for the new order.
What was written is then checked against the architecture itself: every layer of the output must be built like the
layer it came from, else the stack is refused by the name of what differs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from consort.core.errors import Incompatible, Unsupported, listing
from consort.weights.architecture.skeleton import expanded, skeleton
from consort.weights.disk.config_check import LAYERS, UNIFORM
from consort.weights.family import text_config
from consort.weights.layers import split

NUMBERED = (
    *("mlp_only_layers", "moe_layers", "cross_attention_layers", "attn_layer_indices", "full_attn_idxs"),
    *("hybrid_layer_ids", "attn_layer_idx", "ple_layer_ids", "value_embedding_layers", "rope_scaling_layers"),
)
"""Keys that list numbers of layers."""
BY_LAYER = re.compile(
    r".*layer.*|.*_types?|block_types?|num_(attention|key_value|query|kv)_heads|intermediate_size"
    r"|ffn_multipliers|activation_sparsity_pattern|sliding_windows?|swiglu_limits\w*|kv_sharing_modes"
)
"""Keys that may list an entry for each layer."""
FIRST = ("first_k_dense_replace", "num_dense_layers", "n_dense_layers", "max_window_layers", "moe_layer_start_index")
"""Keys that count the layers before others of another kind."""
PERIODIC = (("attn_layer_period", "attn_layer_offset"), ("expert_layer_period", "expert_layer_offset"))
"""Keys that say which layers recur, and from which one on."""
STEPS = ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval", "moe_layer_freq")
"""Keys by which every so-manieth layer has experts."""
IN_PLACE = ("num_kv_shared_layers", "scale_attn_by_inverse_layer_idx")
"""Keys under which a layer computes by its number: such layers cannot move."""
FURTHER = "num_nextn_predict_layers"
"""Layers after the others that foretell further tokens."""
RULES = (*FIRST, *(key for pair in PERIODIC for key in pair), *STEPS, *IN_PLACE, FURTHER, "moe_layer_end_index")
HINT = "no configuration of this architecture says that; take whole periods, or layers of one kind"
OF_NUMBER = re.compile(r".*(idx|index|layer_id|layer_number|block_id|layer_num)")
"""Attributes of a module that are its number."""

DEPTH_SCALED = "scale_depth"
"""A key whose effect is divided by the root of the number of layers."""


class Origin(NamedTuple):
    """A layer by its number, from 0, in a model of `depth` layers with the configuration `config`."""

    config: Mapping[str, Any]
    layer: int
    depth: int


def for_layers(config: Mapping[str, Any], origins: Sequence[Origin]) -> dict[str, Any]:
    """`config` for a model whose layer i is `origins[i]`. Raises Incompatible where no configuration says that."""
    known = {id(one.config): _known(one.config, one.depth) for one in origins}
    found = [Origin(known[id(one.config)], one.layer, one.depth) for one in origins]
    text = dict(text_config(config))
    text |= {key: len(origins) for key in LAYERS if key in text}
    text |= {key: value for key, value in found[0].config.items() if _is_listed(key, found)}
    for key in text:
        if all(is_by_layer(key, one.config, one.depth) for one in found):
            text[key] = [one.config[key][one.layer] for one in found]
        elif key in NUMBERED and any(one.config.get(key) for one in found):
            text[key] = [i for i, one in enumerate(found) if one.layer in (one.config.get(key) or ())]
    if isinstance(text.get(DEPTH_SCALED), int | float):
        text[DEPTH_SCALED] *= math.sqrt(len(origins) / origins[0].depth)
    text |= _rules(found)
    made = text if text_config(config) is config else {**config, "text_config": text}
    if any(_varies(one.config) for one in origins):
        _check(made, origins)
    return made


def depth_of(config: Mapping[str, Any]) -> int | None:
    """The number of layers that a text configuration counts."""
    return next((config[key] for key in LAYERS if isinstance(config.get(key), int)), None)


def is_by_layer(key: str, config: Mapping[str, Any], depth: int) -> bool:
    """Whether a configuration value has one entry for each of `depth` layers."""
    value = config.get(key)
    named = BY_LAYER.fullmatch(key) is not None and key not in NUMBERED
    return named and isinstance(value, list) and len(value) == depth


def tells_layers(key: str, config: Mapping[str, Any], depth: int) -> bool:
    """Whether a key of a text configuration says which layer is of which kind, or how many there are."""
    return key in (*LAYERS, *NUMBERED, *RULES, DEPTH_SCALED) or is_by_layer(key, config, depth)


def _varies(config: Mapping[str, Any]) -> bool:
    """Whether layers may be unlike, as far as the configuration's own words tell."""
    text = text_config(config)
    named = any(key in text and text[key] not in (None, False, [], 0) for key in RULES)
    return named or text.get("model_type") not in UNIFORM


def _known(config: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """The text configuration with the lists and rules that its architecture would add."""
    text = dict(text_config(config))
    whole = expanded(config) if _varies(config) and text.get("model_type") else None
    added = {} if whole is None else text_config(whole)
    listed = {key: added[key] for key in added if is_by_layer(key, added, depth) or key in (*NUMBERED, *RULES)}
    return text | {key: value for key, value in listed.items() if text.get(key) is None}


def _is_listed(key: str, found: Sequence[Origin]) -> bool:
    return key in NUMBERED or all(is_by_layer(key, one.config, one.depth) for one in found)


def _rules(found: Sequence[Origin]) -> dict[str, Any]:
    """The rules of the sources, solved for the order of `found`."""
    made: dict[str, Any] = {}

    def said(key: str) -> bool:
        return any(type(one.config.get(key)) is int for one in found)

    for key in FIRST:
        if said(key):
            made[key] = _leading([one.layer < (one.config.get(key) or 0) for one in found])
    for period, offset in PERIODIC:
        if said(period):
            marked = [one.layer % one.config[period] == one.config.get(offset, 0) for one in found]
            made |= dict(zip((period, offset), _period(marked), strict=True))
    if said("decoder_sparse_step"):
        made |= {"decoder_sparse_step": 1, "mlp_only_layers": [i for i, one in enumerate(found) if _is_dense(one)]}
    if said("moe_layer_interval"):
        sparse = [i for i, one in enumerate(found) if _is_sparse(one)]
        ends = (sparse[0], sparse[-1]) if sparse else (len(found), len(found))
        made |= {"moe_layer_start_index": ends[0], "moe_layer_end_index": ends[1], "moe_layer_interval": 1}
    if said(FURTHER):
        made[FURTHER] = 0
    return made


def _is_dense(one: Origin) -> bool:
    """By the rule of Qwen's mixtures of experts."""
    step = one.config.get("decoder_sparse_step") or 1
    return one.layer in (one.config.get("mlp_only_layers") or ()) or (one.layer + 1) % step != 0


def _is_sparse(one: Origin) -> bool:
    """By the rule of Ernie's mixtures of experts."""
    last = one.config.get("moe_layer_end_index")
    last = one.depth if last is None or last < 0 else last
    inside = (one.config.get("moe_layer_start_index") or 0) <= one.layer <= last
    return inside and (one.layer + 1) % (one.config.get("moe_layer_interval") or 1) == 0


def _leading(flags: Sequence[bool]) -> int:
    return next((i for i, flag in enumerate(flags) if not flag), len(flags))


def _period(flags: Sequence[bool]) -> tuple[int, int]:
    """Period and offset of the layers marked, the shortest; where none fits, what comes nearest at the start."""
    found = len(flags)
    fits = (
        (p, o) for p in range(1, found + 2) for o in range(p) if all((i % p == o) == f for i, f in enumerate(flags))
    )
    return next(fits, (found + 1, _leading([not flag for flag in flags])))


def _check(config: Mapping[str, Any], origins: Sequence[Origin]) -> None:
    """Raise Incompatible unless every layer of `config` is built like its origin, and all else as in the first."""
    if not config.get("model_type"):
        return
    sources = {id(one.config): skeleton(one.config) for one in origins}
    try:
        whole = skeleton(config)
    except Unsupported as fault:
        raise Incompatible(fault.message, field="slices", hint=HINT) from None
    if whole is None or None in sources.values():
        return
    built = {id(one.config): _built(sources[id(one.config)], one.depth) for one in origins}
    made, outside = _built(whole, len(origins))
    faults = dict.fromkeys(_unlike(outside, built[id(origins[0].config)][1]))
    for number, one in enumerate(origins):
        key = next((k for k in IN_PLACE if text_config(one.config).get(k)), None)
        if key and one.layer != number:
            faults[f"{key}: layers compute by their number"] = None
        theirs = built[id(one.config)][0].get(one.layer, {})
        faults |= dict.fromkeys(f"layer {number}: {fault}" for fault in _unlike(made.get(number, {}), theirs))
    if faults:
        raise Incompatible(listing(faults, 3), field="slices", hint=HINT)


def _built(model: nn.Module | None, depth: int) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """What each layer of the language model is made of, and all else: parameters with shapes, and plain settings."""
    assert model is not None
    tensors: dict[str, Any] = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    prefix = _prefix(tensors, depth)
    settings = {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if _is_plain(key, value)
    }
    layers: dict[int, dict[str, Any]] = {}
    outside: dict[str, Any] = {}
    for name, value in (tensors | settings).items():
        found = split(name)
        if found and found[0] == prefix:
            layers.setdefault(found[1], {})[found[2]] = value
        elif name in tensors:
            outside[name] = value
    return layers, outside


def _prefix(names: Iterable[str], depth: int) -> str | None:
    """What stands before the numbers of the language model's layers: of all stacks so deep the one with most in it."""
    stacks: dict[str, list[int]] = {}
    for name in names:
        if found := split(name):
            stacks.setdefault(found[0], []).append(found[1])
    deep = [p for p, s in stacks.items() if len(set(s)) == depth and not re.search(r"vision|visual|audio", p)]
    return max(deep, key=lambda prefix: len(stacks[prefix]), default=None)


def _is_plain(key: str, value: Any) -> bool:
    named = not key.startswith("_") and key not in ("training", *LAYERS) and not OF_NUMBER.fullmatch(key)
    return named and isinstance(value, bool | int | float | str | None)


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What two layers differ in."""
    names = dict.fromkeys([*one, *other])
    return [
        f"{name.lstrip('.')} is {one.get(name, 'absent')}, where it comes from {other.get(name, 'absent')}"
        for name in names
        if not _equal(one.get(name, "absent"), other.get(name, "absent"))
    ]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
