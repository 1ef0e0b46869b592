"""Every variant of an adapter against peft's own merge_and_unload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from consort.weights.disk.opening import open_checkpoint

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # peft warns of its own use of transformers and of its choices

LLAMA: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    "rslora": {"target_modules": ["q_proj", "up_proj"], "use_rslora": True},
    "patterns": {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"q_.*": 3}},
    "dora": {"target_modules": ["q_proj", "o_proj"], "use_dora": True},
    "dora_rslora": {"target_modules": ["q_proj", "o_proj"], "use_dora": True, "use_rslora": True},
    "embedding": {"target_modules": ["embed_tokens", "v_proj"]},
    "dora_embedding": {"target_modules": ["embed_tokens", "v_proj"], "use_dora": True},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
    "head": {"target_modules": ["lm_head"]},
    "regex": {"target_modules": r".*\.1\.self_attn\..*_proj"},
    "all_biases": {"target_modules": ["q_proj"], "bias": "all"},
    "own_biases": {"target_modules": ["q_proj"], "bias": "lora_only"},
}
GPT2: dict[str, dict[str, Any]] = {
    "conv1d": {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True},
    "conv1d_dora": {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True, "use_dora": True},
    "conv1d_biases": {"target_modules": ["c_attn"], "fan_in_fan_out": True, "bias": "all"},
    "tied_embedding": {"target_modules": ["wte", "c_attn"], "fan_in_fan_out": True},
}


def llama() -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(**sizes, vocab_size=32, tie_word_embeddings=False, attention_bias=True)
    return transformers.LlamaForCausalLM(config)


def gpt2() -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, vocab_size=32)
    )


CASES = [*((llama, LLAMA[name]) for name in LLAMA), *((gpt2, GPT2[name]) for name in GPT2)]


@pytest.mark.parametrize(("make", "variant"), CASES, ids=[*LLAMA, *GPT2])
def test_equal_to_pefts_merge_and_unload(make: Any, variant: dict[str, Any], tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
        model.save_pretrained(tmp_path / "base")
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, **variant))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
    adapted.save_pretrained(tmp_path / "adapter")
    expected = adapted.merge_and_unload().state_dict()
    ours = open_checkpoint(tmp_path / "adapter", base=open_checkpoint(tmp_path / "base"))
    assert set(ours.keys()) <= set(expected)
    untouched = load_file(tmp_path / "base" / "model.safetensors")
    for name in ours.keys():
        assert torch.allclose(ours[name], expected[name], atol=1e-6, rtol=1e-6), name
    assert any(not torch.equal(ours[name], untouched[name]) for name in untouched)
