"""Whether a configuration is possible at all and speaks of the tensors beside it, as far as names and shapes tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from consort.core.counted import counted
from consort.core.errors import BadCheckpoint
from consort.weights.family import layer_of, role_of, text_config

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Configuration keys that count layers."""
WIDTHS = ("hidden_size", "n_embd", "d_model", "head_dim", "vocab_size", "max_position_embeddings")
HEADS = ("num_attention_heads", "num_key_value_heads", "n_head", "n_heads")
SIZES = (*LAYERS, *WIDTHS, *HEADS)
"""Configuration keys that count something of which there is one or more wherever the key is."""
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon")


def check_config(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], label: str) -> None:
    """Raise BadCheckpoint naming a key of the file `label`, where its value cannot be or tensors contradict it.

    Sizes are positive integers, numbers are no NaN, layers are as many as names count, and the embeddings have a row
    for every token (more are padding).
    """
    text = text_config(config)
    for key in _paths_of_nan(config):
        raise BadCheckpoint("is NaN", field=f"{label}: {key}", hint="give a number")
    for key in SIZES:
        if key in text and not _is_size(text[key]):
            raise BadCheckpoint(f"{text[key]!r:.80} is no size", field=f"{label}: {key}", hint="a positive integer")
    for key in EPSILONS:
        if key in text and not _is_epsilon(text[key]):
            message = f"{text[key]!r:.80} is no epsilon"
            raise BadCheckpoint(message, field=f"{label}: {key}", hint="a finite number, 0 or more")
    _check_layers(text, shapes, label)
    _check_vocabulary(text, shapes, label)


def _check_layers(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], label: str) -> None:
    key = next((key for key in LAYERS if isinstance(config.get(key), int)), None)
    if key is None or "num_hidden_groups" in config:  # groups share their weights (ALBERT)
        return
    stacks: dict[str, set[int]] = {}
    for name in shapes:
        if (layer := layer_of(name)) is not None:
            stacks.setdefault(name.split(f".{layer}.")[0], set()).add(layer)
    beyond = config.get("num_nextn_predict_layers") or 0  # layers that foretell further tokens follow the others
    wanted = {config[key], config[key] + beyond}
    if stacks and not any({len(found), max(found) + 1} & wanted for found in stacks.values()):
        most = max(max(found) + 1 for found in stacks.values())
        message = f"says {counted(config[key], 'layer')}, the weights have {most}"
        raise BadCheckpoint(message, field=f"{label}: {key}", hint="weights and config.json do not belong together")


def _check_vocabulary(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], label: str) -> None:
    size = config.get("vocab_size")
    tables = [s[0] for n, s in shapes.items() if len(s) == 2 and layer_of(n) is None and role_of(n) == "embedding"]
    if isinstance(size, int) and tables and max(tables) < size:
        message = f"says {size} tokens, the embeddings have {max(tables)} rows"
        hint = "weights and config.json do not belong together"
        raise BadCheckpoint(message, field=f"{label}: vocab_size", hint=hint)


def _is_size(value: Any) -> bool:
    """Null is left to the architecture's default; a few architectures have one size for each layer."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_size, value))
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _is_epsilon(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _paths_of_nan(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _paths_of_nan(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths_of_nan(inner, path)
    elif isinstance(value, float) and math.isnan(value):
        yield path
