"""Whether a configuration is possible at all and speaks of the tensors beside it, as far as names and shapes tell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from consort.core.counted import counted
from consort.core.errors import BadCheckpoint, Unsupported
from consort.weights.family import layer_of, role_of, text_config

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Configuration keys that count layers."""
WIDTHS = ("hidden_size", "n_embd", "d_model", "head_dim", "vocab_size", "max_position_embeddings")
HEADS = ("num_attention_heads", "num_key_value_heads", "n_head", "n_heads")
SIZES = (*LAYERS, *WIDTHS, *HEADS)
"""Configuration keys that count something of which there is one or more wherever the key is."""
ROPE = ("rope_parameters", "rope_scaling")
NUMBERS = re.compile(
    r"\w*rope_theta|rotary_emb_base|rotary_pct|partial_rotary_factor|intermediate_size|num_experts_per_tok|num_experts"
    r"|num_local_experts|n_routed_experts|moe_intermediate_size|\w*softcapping|query_pre_attn_scalar|sliding_window"
    r"|initializer_range|\w+_multiplier|logit_scale|logits_scaling|first_k_dense_replace|max_window_layers|original_max_position_embeddings"
    r"|factor|\w+_freq_factor|beta_(fast|slow)|attention_factor|short_factor|long_factor"
)
"""Configuration keys whose values are numbers, or lists of them."""
FLAGS = re.compile(
    r"tie_word_embeddings|attention_bias|mlp_bias|use_sliding_window|is_encoder_decoder|norm_topk_prob|alibi"
)
"""Configuration keys whose values are true or false."""
DTYPES = re.compile(r"(torch\.)?(auto|half|double|bfloat16|float(|16|32|64|4_\w+|8_\w+)|u?int(4|8|16|32|64))")
TOKENS = re.compile(r"(bos|eos|pad|sep|cls|unk|mask|image|video|audio|decoder_start)_token_(id|index)")
"""Configuration keys whose values are token ids, or lists of them."""
TEXTS = re.compile(r"model_type|hidden_act|hidden_activation|activation_function|transformers_version")
"""Configuration keys whose values are texts."""
LISTS = re.compile(r"architectures|layer_types|layers_block_type")
"""Configuration keys whose values are lists of texts."""
UNIFORM = frozenset(
    ("llama", "mistral", "mixtral", "gpt2", "gpt_neox", "gptj", "phi", "phi3", "gemma", "olmo", "opt", "bloom")
)
"""Values of `model_type` whose layers are all alike, so that there is nothing to look up."""
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
    for part in (text, config) if text is not config else (config,):
        _check_types(part, label)
    _check_layers(text, shapes, label, config)
    _check_vocabulary(text, shapes, label)


def _check_types(config: Mapping[str, Any], label: str, path: str = "") -> None:
    """Numbers are numbers and flags are flags, in the configuration and in what it says of rope."""
    for key, value in config.items():
        if NUMBERS.fullmatch(key) and not _is_number(value):
            message, hint = f"{value!r:.80} is no number", "a finite number"
            raise BadCheckpoint(message, field=f"{label}: {path}{key}", hint=hint)
        if FLAGS.fullmatch(key) and not (value is None or isinstance(value, bool)):
            message = f"{value!r:.80} is neither true nor false"
            raise BadCheckpoint(message, field=f"{label}: {path}{key}", hint="true or false")
        for wanted, is_one, what in KINDS:
            if wanted.fullmatch(key) and value is not None and not is_one(value):
                raise BadCheckpoint(f"{value!r:.80} is no {what}", field=f"{label}: {path}{key}", hint=f"a {what}")
        if key in ROPE and isinstance(value, Mapping):
            _check_types(value, label, f"{path}{key}.")
            for name, inner in value.items():
                if isinstance(inner, Mapping):
                    _check_types(inner, label, f"{path}{key}.{name}.")


def _is_token(value: Any) -> bool:
    """Negative ones stand for none in some architectures."""
    if isinstance(value, list):
        return all(map(_is_token, value)) and not any(isinstance(one, list) for one in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_dtype(value: Any) -> bool:
    """A composite model has one for each part."""
    if isinstance(value, Mapping):
        return all(map(_is_dtype, value.values()))
    return isinstance(value, str) and DTYPES.fullmatch(value) is not None


KINDS: tuple[tuple[re.Pattern[str], Callable[[Any], bool], str], ...] = (
    (TOKENS, _is_token, "token id, or list of them"),
    (TEXTS, lambda value: isinstance(value, str), "text"),
    (LISTS, _is_texts, "list of texts"),
    (re.compile("|".join(ROPE)), lambda value: isinstance(value, Mapping), "mapping"),
    (re.compile("(torch_)?dtype"), _is_dtype, "name of a dtype"),
)


def _check_layers(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], label: str, whole: Mapping[str, Any]
) -> None:
    key = next((key for key in LAYERS if isinstance(config.get(key), int)), None)
    if key is None or "num_hidden_groups" in config:  # groups share their weights (ALBERT)
        return
    stacks = _stacks(shapes)
    beyond = config.get("num_nextn_predict_layers") or 0  # layers that foretell further tokens follow the others
    wanted = {config[key], config[key] + beyond}
    if stacks and not any({len(found), max(found) + 1} & wanted for found in stacks.values()):
        if _has_such_layers(whole, stacks):
            return
        most = max(max(found) + 1 for found in stacks.values())
        message = f"says {counted(config[key], 'layer')}, the weights have {most}"
        raise BadCheckpoint(message, field=f"{label}: {key}", hint="weights and config.json do not belong together")


def _stacks(names: Iterable[str]) -> dict[str, set[int]]:
    """The numbers of layers by what stands before them."""
    stacks: dict[str, set[int]] = {}
    for name in names:
        if (layer := layer_of(name)) is not None:
            stacks.setdefault(name.split(f".{layer}.")[0], set()).add(layer)
    return stacks


def _has_such_layers(config: Mapping[str, Any], stacks: Mapping[str, set[int]]) -> bool:
    """Whether the architecture counts otherwise (layers that are run again, halves of a layer) and is built like that.

    The deepest stack decides: names may be others when a model is loaded.
    """
    if config.get("model_type") in UNIFORM:
        return False
    from consort.weights.architecture.skeleton import skeleton  # brings torch

    try:
        model = skeleton(config)
    except Unsupported:
        return False
    built = _stacks(name for name, _ in model.named_parameters()) if model is not None else {}
    return max(map(len, built.values()), default=0) == max(map(len, stacks.values()))


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


def _is_number(value: Any) -> bool:
    """A list has one number for each layer or dimension; null leaves it to the architecture."""
    if isinstance(value, list):
        return all(map(_is_number, value))
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


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
