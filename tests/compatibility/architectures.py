"""Architectures that transformers offers, each as a tiny random model: what the compatibility matrix is made of.

`ARCHITECTURES` names them in order; `tiny(name)` builds one. A name is a `model_type` of transformers, with what is
special about it after a plus sign. `offered()` are those that the installed transformers knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WINDOW = 64
"""Positions of those models that must say how many they have."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A configuration of transformers: `model_type`, and the values that differ from those of `SMALL`."""

    name: str
    group: str
    config: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        return self.name.partition("+")[0]


SMALL: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": WINDOW,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""What every configuration is told; a name that it does not know does no harm."""

OMITTED = object()
"""A value of `SMALL` that this configuration must not be told."""

_TIED = {"tie_word_embeddings": True}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2}
_EXPERTS |= {"moe_intermediate_size": 24, "n_shared_experts": 1, "shared_expert_intermediate_size": 24}
_EXPERTS |= {"n_group": 1, "topk_group": 1}
_MLA = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
_MLA |= {"num_key_value_heads": 4}
_MAMBA = {"mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 4, "mamba_n_heads": 8}
_MAMBA |= {"mamba_d_head": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8, "use_mamba_kernels": False}
_LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
_LINEAR |= {"layer_types": ["linear_attention", "full_attention"]}
_MIXED = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}
_NO_HEAD_DIM = {"head_dim": OMITTED}
_VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
_VISION |= {"image_size": 8, "patch_size": 4}


def _text(model_type: str, **more: Any) -> dict[str, Any]:
    return {"model_type": model_type, **SMALL, **more}


GROUPS: dict[str, dict[str, dict[str, Any]]] = {
    "dense": {
        "llama": {},
        "llama+bias": {"attention_bias": True, "mlp_bias": True},
        "mistral": {"sliding_window": None},
        "qwen2": {},
        "qwen3": {},
        "olmo": {},
        "olmo2": {},
        "phi": {},
        "phi3": {},
        "stablelm": {},
        "cohere": {},
        "granite": {},
        "glm": {},
        "glm4": {},
        "helium": {},
        "nemotron": {},
        "gpt_neox": {},
        "starcoder2": {},
        "smollm3": {},
        "arcee": {},
        "ernie4_5": {},
        "hunyuan_v1_dense": {},
        "persimmon": {},
        "bitnet": {},
        "apertus": {},
        "seed_oss": {},
        "diffllama": {},
        "gptj": {"rotary_dim": 4},
        "codegen": {"rotary_dim": 4},
        "phi3+longrope": {
            "original_max_position_embeddings": 8,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0, 1.0, 1.0, 1.0],
                "long_factor": [2.0, 4.0, 6.0, 8.0],
                "partial_rotary_factor": 1.0,
            },
        },
    },
    "tied": {
        "llama+tied": _TIED,
        "qwen2+tied": _TIED,
        "gemma": _TIED,
        "gpt2+tied": _TIED,
    },
    "mixture of experts": {
        "mixtral": _EXPERTS,
        "qwen2_moe": _EXPERTS,
        "qwen3_moe": _EXPERTS,
        "olmoe": _EXPERTS,
        "phimoe": _EXPERTS,
        "granitemoe": _EXPERTS,
        "jetmoe": {**_EXPERTS, "kv_channels": 8, "num_key_value_heads": 2},
        "dbrx": {
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": WINDOW,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
            "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
        },
        "glm4_moe": {**_EXPERTS, "first_k_dense_replace": 1},
        "ernie4_5_moe": {**_EXPERTS, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1},
        "hunyuan_v1_moe": {**_EXPERTS, "moe_topk": 2},
        "flex_olmo": _EXPERTS,
    },
    "latent attention": {
        "deepseek_v2": {**_EXPERTS, **_MLA, "first_k_dense_replace": 1},
        "deepseek_v3": {**_EXPERTS, **_MLA, "first_k_dense_replace": 1, "head_dim": 8},
        "minicpm3": _MLA,
    },
    "sliding window": {
        "mistral+sliding": {"sliding_window": 5},
        "qwen2+sliding": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        "gemma2": {**_TIED, "sliding_window": 5},
        "gemma3_text": {**_TIED, **_MIXED},
        "gemma3n_text": {
            **_TIED,
            **_MIXED,
            "intermediate_size": [48, 48],
            "vocab_size_per_layer_input": 256,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 0,
            "laurel_rank": 8,
            "altup_num_inputs": 2,
            "activation_sparsity_pattern": [0.0, 0.0],
        },
        "cohere2": _MIXED,
        "gpt_oss": {**_EXPERTS, **_MIXED},
        "olmo3": _MIXED,
        "exaone4": _MIXED,
        "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 5, "num_layers": 2, "num_heads": 4},
        "ministral": {"sliding_window": 5},
        "modernbert-decoder": {"local_attention": 8, "layer_types": ["sliding_attention", "full_attention"]},
        "phi3+sliding": {"sliding_window": 5},
        "mimo_v2_flash": {**_EXPERTS, **_MIXED, "v_head_dim": 8},
        "llama4_text": {
            **_EXPERTS,
            "intermediate_size_mlp": 48,
            "attention_chunk_size": 8,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
            "moe_layers": [1],
        },
    },
    "alibi": {
        "bloom": {"n_layer": 2, "n_head": 4},
        "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": WINDOW},
        "falcon+alibi": {**_NO_HEAD_DIM, "alibi": True, "num_kv_heads": 1},
    },
    "absolute positions": {
        "gpt2": {},
        "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
        "gpt_bigcode": {},
        "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
        "biogpt": {},
        "ctrl": {"n_embd": 32, "dff": 48, "n_layer": 2, "n_head": 4, "n_positions": WINDOW},
        "roberta": {"is_decoder": True},
        "openai-gpt": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": WINDOW},
    },
    "parallel blocks": {
        "falcon": {**_NO_HEAD_DIM, "num_kv_heads": 1},
        "falcon+new": {**_NO_HEAD_DIM, "new_decoder_architecture": True, "num_kv_heads": 2},
    },
    "state space": {
        "mamba": {"state_size": 8, "time_step_rank": 4, "expand": 2},
        "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
        "falcon_mamba": {"state_size": 8, "time_step_rank": 4, "expand": 2},
        "rwkv": {"attention_hidden_size": 32, "context_length": WINDOW},
    },
    "hybrid": {
        "jamba": {**_EXPERTS, **_MAMBA, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
        "zamba": {
            **_MAMBA,
            "num_hidden_layers": 3,
            "n_mamba_heads": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_key_value_heads": 4,
        },
        "zamba2": {
            **_MAMBA,
            "num_hidden_layers": 3,
            "layers_block_type": ["mamba", "hybrid", "mamba"],
            "n_mamba_heads": 8,
            "mamba_headdim": 8,
            "mamba_ngroups": 1,
            "chunk_size": 8,
            "num_mem_blocks": 1,
            "use_mem_rope": True,
            "num_key_value_heads": 4,
        },
        "bamba": {**_MAMBA, "attn_layer_indices": [1]},
        "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64},
        "granitemoehybrid": {
            **_EXPERTS,
            **_MAMBA,
            "layer_types": ["mamba", "attention"],
            "shared_intermediate_size": 24,
        },
        "recurrent_gemma": {
            "num_hidden_layers": 3,
            "block_types": ["recurrent", "recurrent", "attention"],
            "attention_window_size": 8,
            "lru_width": 32,
        },
        "qwen3_next": {**_EXPERTS, **_LINEAR},
        "qwen3_5_text": _LINEAR,
        "lfm2": {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3},
        "minimax": {**_EXPERTS, "layer_types": ["linear_attention", "full_attention"], "block_size": 8},
        "olmo_hybrid": {**_LINEAR, "num_key_value_heads": 4},
        "nemotron_h": {
            **_MAMBA,
            "layers_block_type": ["mamba", "attention"],
            "ssm_state_size": 8,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 1,
            "chunk_size": 8,
            "conv_kernel": 4,
        },
    },
    "vision-language": {
        "gemma3": {
            "text_config": _text("gemma3_text", **_TIED, **_MIXED),
            "vision_config": {"model_type": "siglip_vision_model", **_VISION},
            "mm_tokens_per_image": 4,
            "image_token_index": 255,
        },
        "llava": {
            "text_config": _text("llama"),
            "vision_config": {"model_type": "clip_vision_model", **_VISION, "projection_dim": 16},
            "image_token_index": 255,
        },
        "qwen2_vl": {
            "text_config": _text(
                "qwen2_vl_text",
                rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
            ),
            "vision_config": {"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 32, "patch_size": 4},
            "image_token_id": 255,
            "video_token_id": 254,
            "vision_start_token_id": 253,
        },
    },
}

ARCHITECTURES: dict[str, Architecture] = {
    name: Architecture(name, group, config) for group, members in GROUPS.items() for name, config in members.items()
}


def offered() -> list[str]:
    """Names of those architectures that the installed transformers knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return [name for name, one in ARCHITECTURES.items() if one.model_type in CONFIG_MAPPING_NAMES]


def told_apart() -> list[str]:
    """Names of those offered that store their weights each in another way: the first of every group, and some more."""
    firsts = [next(iter(members)) for members in GROUPS.values()]
    special = ("phi3", "gpt_oss", "gemma3n_text", "dbrx", "zamba2", "qwen2_vl")
    return [name for name in offered() if name in (*firsts, *special)]


def configuration(name: str) -> Any:
    """The configuration of a tiny model."""
    from transformers import AutoConfig

    one = ARCHITECTURES[name]
    if one.group == "vision-language":
        return AutoConfig.for_model(one.model_type, tie_word_embeddings=False, **one.config)
    values = {key: value for key, value in {**SMALL, **one.config}.items() if value is not OMITTED}
    return AutoConfig.for_model(one.model_type, **values)


def tiny(name: str, seed: int = 0) -> Any:
    """The module of a tiny random model in evaluation mode; the global random state is left as it was.

    All weights are spread wide, so that each part of the model shows in its logits and ties of logits are rare.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = configuration(name)
    causal = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = (AutoModelForCausalLM if causal else AutoModelForImageTextToText).from_config(config)
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return module.eval()
