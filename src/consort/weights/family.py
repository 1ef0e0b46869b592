"""What a tensor's name means: its layer, its role, its vocabulary axis; and what two configurations disagree on.

Names follow a few habits that all families share, so there is no file per architecture. A name that follows none has
no layer and the role "other"; it is merged like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

KNOWN_NAMES = 1 << 16
"""Names remembered: the same ones are asked about for every input of a merge."""

ROLES = (
    ("norm", r"norm|ln|ln\d|ln_\w+|\w*layernorm|layer_norm|\w+_norm|norm\d"),
    ("positions", r"wpe|embed_positions|position_embeddings?|pos_embed|relative_attention_bias"),
    ("embedding", r"embed_tokens|wte|word_embeddings?|tok_embeddings|token_embd|embed_in|shared|embeddings?|emb"),
    ("head", r"lm_head|embed_out|head|output_projection"),
    ("attention.qkv", r"qkv_proj|qkv|query_key_value|c_attn|wqkv|in_proj"),
    ("attention.q", r"q_proj|query|wq|q_lin|receptance"),
    ("attention.k", r"k_proj|wk|k_lin|key"),
    ("attention.v", r"v_proj|wv|v_lin|value"),
    ("attention.o", r"o_proj|wo|out_lin|out_proj"),
    ("mlp.gate_up", r"gate_up_proj"),
    ("mlp.router", r"router|gate_network|wg"),
    ("mlp.gate", r"gate_proj|w1|gate"),
    ("mlp.up", r"up_proj|w3|c_fc|fc1|fc_in|dense_h_to_4h|lin1"),
    ("mlp.down", r"down_proj|w2|fc2|fc_out|dense_4h_to_h|lin2"),
)
"""Roles and the components of a name that tell them; the last component that matches one decides."""

OF_VOCABULARY = ("embedding", "head")
"""Roles outside the layers whose tensors have a row for each token."""
INSIDE_HEAD = ("linear", "decoder")
"""Modules that may lie inside one called head and be the head itself."""

MLP = re.compile(r"mlp|ffn|feed_forward|block_sparse_moe|moe|experts?|channel_mix")

IGNORED = re.compile(
    r"_.*|.*_token_id|.*dropout.*|.*pdrop|.*drop|.*init.*|output_.*|unsloth_.*|.*aux_loss.*|.*z_loss.*"
    r"|dtype|torch_dtype|transformers_version|name_or_path|use_cache|architectures|auto_map|return_dict"
    r"|use_return_dict|gradient_checkpointing|id2label|label2id|num_labels|task_specific_params|problem_type"
    r"|finetuning_task|vocab_size|tie_word_embeddings|pretraining_tp|chunk_size_feed_forward|torchscript"
    r"|bad_words_ids|attn_implementation|max_length|min_length|do_sample|temperature|top_[kp]|num_beams"
    r"|repetition_penalty|length_penalty|begin_suppress_tokens|suppress_tokens|prefix|tokenizer_class|pruned_heads"
)
"""Configuration keys that do not change what a network computes from its weights and a token, or that other rules
handle (vocabulary, tied embeddings)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A configuration key, written with dots, and its value in each configuration (None: absent)."""

    key: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.key}: {' against '.join(str(value) for value in dict.fromkeys(map(repr, self.values)))}"


@lru_cache(KNOWN_NAMES)
def layer_of(name: str) -> int | None:
    """The number of the layer a tensor belongs to, None outside the stack: the first number that is a component.

    >>> layer_of("model.layers.12.mlp.experts.3.w1.weight")
    12
    """
    parts = name.split(".")
    numbers = (i for i, part in enumerate(parts) if part.isdecimal() and part.isascii())
    first = next(numbers, None)
    if first is None or first == 0 or re.fullmatch(r"experts?|\w*head\w*|score|classifier", parts[first - 1]):
        return None
    return int(parts[first])


def layer_count(names: Iterable[str]) -> int:
    """One more than the highest layer number among `names`; 0 if none has one."""
    return max((layer + 1 for name in names if (layer := layer_of(name)) is not None), default=0)


@lru_cache(KNOWN_NAMES)
def role_of(name: str) -> str:
    """What a tensor does: a role of `ROLES` or "other".

    >>> role_of("model.layers.0.self_attn.q_proj.weight")
    'attention.q'
    """
    parts = [part for part in name.lower().split(".") if not part.isdecimal() and part not in ("weight", "bias")]
    in_mlp = any(MLP.fullmatch(part) for part in parts)
    in_layer = layer_of(name) is not None
    for part in reversed(parts):
        role = _of_component(part, in_mlp, in_layer=in_layer)
        if role in OF_VOCABULARY and part is not parts[-1] and parts[-1] not in INSIDE_HEAD:
            return "other"  # a part of a block called head (pooling, scoring), not a matrix of tokens
        if role:
            return role
    return "other"


def vocabulary_axis(name: str, shape: Sequence[int], config: Mapping[str, Any]) -> int | None:
    """The axis of a tensor that counts tokens, None if there is none.

    Embeddings and heads have their rows by token, also where the rows are padded beyond `vocab_size`; a tensor called
    so that has fewer rows counts something else.
    """
    if role_of(name) not in OF_VOCABULARY or layer_of(name) is not None or not shape:
        return None
    size = text_config(config).get("vocab_size")
    axis = next((axis for axis, length in enumerate(shape) if length == size), None)
    if axis is not None or not isinstance(size, int):
        return axis or 0
    return 0 if shape[0] > size else None


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that speaks of the language model: itself, or its `text_config`."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def differences(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Keys whose values differ and change what is computed (rope, heads, activation, norm epsilon, window, ...).

    Older and newer spellings of rope are compared as one. A key that is absent here and empty there (null, false, 0,
    or the value that follows from other keys) is no difference.
    """
    flat = [_flat(_canonical(config)) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config)
    found = (Difference(key, tuple(config.get(key) for config in flat)) for key in keys)
    return [d for d in found if len({_comparable(value) for value in d.values}) > 1]


@lru_cache(1 << 10)
def _of_component(part: str, in_mlp: bool, in_layer: bool) -> str | None:
    if part in ("dense", "c_proj", "output"):
        return ("mlp.down" if in_mlp else "attention.o") if in_layer else "head" if part == "output" else None
    if part == "intermediate":
        return "mlp.up"
    if part == "gate" and in_mlp:
        return "mlp.router"
    role = next((role for role, pattern in ROLES if re.fullmatch(pattern, part)), None)
    outside = role in ("embedding", "head")
    return None if outside and in_layer else role


def _canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with rope in one spelling and with the values that follow from others filled in."""
    known = dict(config)
    rope = dict(known.pop("rope_scaling", None) or {}) | dict(known.pop("rope_parameters", None) or {})
    if "rope_theta" in known:
        rope.setdefault("rope_theta", known.pop("rope_theta"))
    if "type" in rope:
        rope.setdefault("rope_type", rope.pop("type"))
    if rope:
        known["rope"] = {"rope_type": "default"} | rope
    if known.get("use_sliding_window") is False:
        known = {key: value for key, value in known.items() if key not in ("sliding_window", "max_window_layers")}
    heads, width = known.get("num_attention_heads"), known.get("hidden_size")
    if isinstance(heads, int) and heads > 0:
        known["num_key_value_heads"] = known.get("num_key_value_heads") or heads
        if isinstance(width, int) and "kv_lora_rank" not in known:
            known["head_dim"] = known.get("head_dim") or width // heads
    return known


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if IGNORED.fullmatch(key):
            continue
        if isinstance(value, Mapping):
            flat |= _flat(_canonical(value) if key.endswith("_config") else value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _comparable(value: Any) -> Any:
    """Equal for values that mean the same: 1 and 1.0; null, false, 0 and an empty list."""
    if value is None or value is False or value == 0 or value == [] or value == {}:
        return None
    if isinstance(value, Mapping):
        return frozenset((key, _comparable(inner)) for key, inner in value.items())
    return tuple(map(_comparable, value)) if isinstance(value, list | tuple) else value
