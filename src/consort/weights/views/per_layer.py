"""The part of a configuration that tells layers apart, for layers put in another order.

Three ways of writing it are known: a list with an entry for each layer, a list of numbers of layers, and rules such as
"the first k are dense" or "every second one". Lists are rearranged and renumbered, rules solved for the new order.
What was written is then checked against the architecture itself: every layer of the output must be built like the
layer it came from, else the stack is refused by the name of what differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from consort.core.errors import Incompatible, listing
from consort.weights.architecture.skeleton import expanded, skeleton
from consort.weights.disk.config_check import LAYERS
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
UNIFORM = frozenset(
    ("llama", "mistral", "mixtral", "gpt2", "gpt_neox", "gptj", "phi", "phi3", "gemma", "olmo", "opt", "bloom", "rwkv")
)
"""Values of `model_type` whose layers are all alike, so that there is nothing to look up."""
RULES = (*FIRST, *(key for pair in PERIODIC for key in pair), *STEPS, *IN_PLACE, FURTHER, "moe_layer_end_index")
OF_NUMBER = re.compile(r".*(idx|index|layer_id|layer_number|block_id|layer_num)")
"""Attributes of a module that are its number."""

Origin = tuple[Mapping[str, Any], int]
"""A configuration and the number of a layer in it, from 0."""


def for_layers(config: Mapping[str, Any], origins: Sequence[Origin]) -> dict[str, Any]:
    """`config` for a model whose layer i is `origins[i]`. Raises Incompatible where no configuration says that."""
    known = {id(source): _known(source) for source, _ in origins}
    found = [(known[id(source)], layer) for source, layer in origins]
    text = dict(text_config(config))
    text |= {key: len(origins) for key in LAYERS if key in text}
    text |= {key: value for key, value in found[0][0].items() if _is_listed(key, found)}
    for key in text:
        if all(is_by_layer(key, source) for source, _ in found):
            text[key] = [source[key][layer] for source, layer in found]
        elif key in NUMBERED and any(source.get(key) for source, _ in found):
            text[key] = [i for i, (source, layer) in enumerate(found) if layer in (source.get(key) or ())]
    text |= _rules(found)
    made = text if text_config(config) is config else {**config, "text_config": text}
    if any(_varies(source) for source, _ in origins):
        _check(made, origins)
    return made


def depth_of(config: Mapping[str, Any]) -> int | None:
    """The number of layers that a text configuration counts."""
    return next((config[key] for key in LAYERS if isinstance(config.get(key), int)), None)


def is_by_layer(key: str, config: Mapping[str, Any]) -> bool:
    """Whether a configuration value has one entry for each layer."""
    value = config.get(key)
    named = BY_LAYER.fullmatch(key) is not None and key not in NUMBERED
    return named and isinstance(value, list) and len(value) == depth_of(config)


def tells_layers(key: str, config: Mapping[str, Any]) -> bool:
    """Whether a key of a text configuration says which layer is of which kind, or how many there are."""
    return key in (*LAYERS, *NUMBERED, *RULES) or is_by_layer(key, config)


def _varies(config: Mapping[str, Any]) -> bool:
    """Whether layers may be unlike, as far as the configuration's own words tell."""
    text = text_config(config)
    named = any(key in text and text[key] not in (None, False, [], 0) for key in RULES)
    return named or text.get("model_type") not in UNIFORM


def _known(config: Mapping[str, Any]) -> dict[str, Any]:
    """The text configuration with the lists and rules that its architecture would add."""
    text = dict(text_config(config))
    whole = expanded(config) if _varies(config) and text.get("model_type") else None
    added = {} if whole is None else text_config(whole)
    listed = {key: added[key] for key in added if is_by_layer(key, added) or key in (*NUMBERED, *RULES)}
    return text | {key: value for key, value in listed.items() if text.get(key) is None}


def _is_listed(key: str, found: Sequence[Origin]) -> bool:
    return key in NUMBERED or all(is_by_layer(key, source) for source, _ in found)


def _rules(found: Sequence[Origin]) -> dict[str, Any]:
    """The rules of the sources, solved for the order of `found`."""
    made: dict[str, Any] = {}

    def flags(holds: Callable[[Mapping[str, Any], int], bool]) -> list[bool]:
        return [holds(source, layer) for source, layer in found]

    def said(key: str) -> bool:
        return any(type(source.get(key)) is int for source, _ in found)

    for key in FIRST:
        if said(key):
            early = flags(lambda source, layer, key=key: layer < (source.get(key) or 0))
            made[key] = _leading(early)
    for period, offset in PERIODIC:
        if said(period):
            marked = flags(lambda source, layer, p=period, o=offset: layer % source[p] == source.get(o, 0))
            made |= dict(zip((period, offset), _period(marked), strict=True))
    if said("decoder_sparse_step"):
        dense = flags(_is_dense)
        made |= {"decoder_sparse_step": 1, "mlp_only_layers": [i for i, is_dense in enumerate(dense) if is_dense]}
    if said("moe_layer_interval"):
        sparse = [i for i, is_sparse in enumerate(flags(_is_sparse)) if is_sparse]
        ends = (sparse[0], sparse[-1]) if sparse else (len(found), len(found))
        made |= {"moe_layer_start_index": ends[0], "moe_layer_end_index": ends[1], "moe_layer_interval": 1}
    if said(FURTHER):
        made[FURTHER] = 0
    return made


def _is_dense(config: Mapping[str, Any], layer: int) -> bool:
    """By the rule of Qwen's mixtures of experts."""
    step = config.get("decoder_sparse_step") or 1
    return layer in (config.get("mlp_only_layers") or ()) or (layer + 1) % step != 0


def _is_sparse(config: Mapping[str, Any], layer: int) -> bool:
    """By the rule of Ernie's mixtures of experts."""
    last = config.get("moe_layer_end_index")
    last = depth_of(config) if last is None or last < 0 else last
    inside = (config.get("moe_layer_start_index") or 0) <= layer <= (last or 0)
    return inside and (layer + 1) % (config.get("moe_layer_interval") or 1) == 0


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
    whole = skeleton(config) if config.get("model_type") else None
    if whole is None:
        return
    made, outside = _built(whole, config)
    faults: dict[str, None] = {}
    sources: dict[int, tuple[Mapping[int, Any], Any] | None] = {}
    for number, (source, layer) in enumerate(origins):
        if id(source) not in sources:
            built = skeleton(source)
            sources[id(source)] = None if built is None else _built(built, source)
        found = sources[id(source)]
        if found is None or layer not in found[0] or number not in made:
            continue
        key = next((k for k in IN_PLACE if text_config(source).get(k)), None)
        if key and layer != number:
            faults[f"{key}: layers compute by their number"] = None
        faults |= dict.fromkeys(f"layer {number}: {fault}" for fault in _unlike(made[number], found[0][layer]))
        if number == 0:
            faults |= dict.fromkeys(_unlike(outside, found[1]))
    if faults:
        hint = "no configuration of this architecture says that; take whole periods, or layers of one kind"
        raise Incompatible(listing(faults, 3), field="slices", hint=hint)


def _built(model: nn.Module, config: Mapping[str, Any]) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """What each layer of the language model is made of, and all else: parameters with shapes, and plain settings."""
    depth = depth_of(text_config(config))
    parts: dict[str, Any] = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    stacks: dict[str, set[int]] = {}
    for name in parts:
        if found := split(name):
            stacks.setdefault(found[0], set()).add(found[1])
    prefixes = [p for p, s in stacks.items() if len(s) == depth and not re.search(r"vision|visual|audio", p)]
    for name, module in model.named_modules():
        settings = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        parts |= {f"{name}.{key}": v for key, v in settings.items() if _is_plain(key, v)}
    layers: dict[int, dict[str, Any]] = {}
    outside: dict[str, Any] = {}
    for name, value in parts.items():
        found = split(name)
        if found and found[0] in prefixes:
            layers.setdefault(found[1], {})[found[2]] = value
        elif isinstance(value, tuple) and name in model.state_dict():
            outside[name] = value
    return layers, outside


def _is_plain(key: str, value: Any) -> bool:
    return isinstance(value, bool | int | float | str | None) and key != "training" and not OF_NUMBER.fullmatch(key)


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What two layers differ in."""
    names = dict.fromkeys([*one, *other])
    return [
        f"{name.lstrip('.')} is {one.get(name, 'absent')}, where it comes from {other.get(name, 'absent')}"
        for name in names
        if one.get(name, "absent") != other.get(name, "absent")
    ]
