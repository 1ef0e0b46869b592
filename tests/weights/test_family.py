from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consort.weights.disk.folder import open_folder
from consort.weights.family import differences, layer_count, layer_of, role_of, vocabulary_axis

NAMES = {
    "model.embed_tokens.weight": (None, "embedding"),
    "model.layers.3.self_attn.q_proj.weight": (3, "attention.q"),
    "model.layers.3.self_attn.k_proj.bias": (3, "attention.k"),
    "model.layers.3.self_attn.q_norm.weight": (3, "norm"),
    "model.layers.10.mlp.gate_proj.weight": (10, "mlp.gate"),
    "model.layers.0.input_layernorm.weight": (0, "norm"),
    "model.layers.7.block_sparse_moe.gate.weight": (7, "mlp.router"),
    "model.layers.7.block_sparse_moe.experts.2.w2.weight": (7, "mlp.down"),
    "model.layers.7.mlp.experts.12.up_proj.weight": (7, "mlp.up"),
    "model.norm.weight": (None, "norm"),
    "lm_head.weight": (None, "head"),
    "transformer.wte.weight": (None, "embedding"),
    "transformer.wpe.weight": (None, "positions"),
    "transformer.h.4.attn.c_attn.weight": (4, "attention.qkv"),
    "transformer.h.4.attn.c_proj.weight": (4, "attention.o"),
    "transformer.h.4.mlp.c_fc.weight": (4, "mlp.up"),
    "transformer.h.4.mlp.c_proj.weight": (4, "mlp.down"),
    "transformer.h.4.ln_1.weight": (4, "norm"),
    "transformer.ln_f.weight": (None, "norm"),
    "gpt_neox.embed_in.weight": (None, "embedding"),
    "gpt_neox.layers.2.attention.query_key_value.weight": (2, "attention.qkv"),
    "gpt_neox.layers.2.attention.dense.weight": (2, "attention.o"),
    "gpt_neox.layers.2.mlp.dense_4h_to_h.weight": (2, "mlp.down"),
    "embed_out.weight": (None, "head"),
    "rwkv.embeddings.weight": (None, "embedding"),
    "rwkv.blocks.1.attention.key.weight": (1, "attention.k"),
    "rwkv.blocks.1.attention.output.weight": (1, "attention.o"),
    "head.weight": (None, "head"),
    "model.decoder.layers.5.fc2.weight": (5, "mlp.down"),
    "something.else": (None, "other"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_tells_layer_and_role(name: str) -> None:
    assert (layer_of(name), role_of(name)) == NAMES[name]


@pytest.mark.parametrize("model", ["stories260K", "rwkv4-tiny", "bit-1M"])
def test_real_models_have_as_many_layers_as_they_say(model: str, shared: Path) -> None:
    with open_folder(shared / "models" / model) as folder:
        names = folder.keys()
        assert layer_count(names) == folder.config["num_hidden_layers"]
        assert [role_of(n) for n in names].count("embedding") == 1
        vocabulary = [n for n in names if vocabulary_axis(n, folder.spec(n).shape, folder.config) == 0]
        assert all(folder.spec(n).shape[0] == folder.config["vocab_size"] for n in vocabulary) and vocabulary


def test_the_vocabulary_axis_is_that_of_its_size() -> None:
    assert vocabulary_axis("lm_head.weight", (8, 300), {"vocab_size": 300}) == 1
    assert vocabulary_axis("lm_head.weight", (320, 8), {"vocab_size": 300}) == 0  # padded rows
    assert vocabulary_axis("model.norm.weight", (300,), {"vocab_size": 300}) is None


LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "torch_dtype": "float16",
}


def test_what_does_not_change_the_computation_is_no_difference() -> None:
    newer = {
        **{k: v for k, v in LLAMA.items() if k not in ("rope_theta", "torch_dtype")},
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "dtype": "bfloat16",
        "eos_token_id": 7,
        "head_dim": 8,
        "num_key_value_heads": 8,
        "attention_bias": False,
        "use_cache": False,
        "vocab_size": 99,
    }
    assert differences([LLAMA, newer]) == []


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"rope_theta": 1e6}, "rope.rope_theta"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope.factor"),
        ({"num_key_value_heads": 4}, "num_key_value_heads"),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"sliding_window": 128}, "sliding_window"),
        ({"model_type": "qwen2"}, "model_type"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
    ],
)
def test_what_changes_it_is_named(change: dict[str, Any], key: str) -> None:
    found = differences([LLAMA, LLAMA | change, LLAMA])
    assert key in [d.key for d in found] and key in str(next(d for d in found if d.key == key))
