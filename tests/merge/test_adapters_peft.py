"""Adapters that consort writes, loaded by peft: their effect is the sum of the effects, or the fine-tune."""

from __future__ import annotations

import pytest
import torch

from consort.merge.adapters.extract_adapter import ExtractAdapter
from consort.merge.adapters.merge_adapters import MergeAdapters
from consort.weights import open_adapter, open_folder, write

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # peft warns of its own use of transformers and of its choices


def llama():
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(**sizes, vocab_size=32, tie_word_embeddings=False, attention_bias=True)
    return transformers.LlamaForCausalLM(config)


def gpt2():
    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=16, vocab_size=32)
    return transformers.GPT2LMHeadModel(config)


MAKE = {"llama": llama, "gpt2": gpt2}
VARIANTS = {
    "llama": [
        {"r": 4, "target_modules": ["q_proj", "embed_tokens"]},
        {"r": 2, "target_modules": ["q_proj", "up_proj"]},
    ],
    "gpt2": [{"r": 4, "target_modules": ["c_attn"]}, {"r": 2, "target_modules": ["c_attn", "c_proj"]}],
}


@pytest.fixture(params=MAKE)
def family(request, tmp_path):
    """Name, folder of a base model, and two adapters that peft made over it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = MAKE[request.param]()
        base.save_pretrained(tmp_path / "base")
        for name, variant in zip("ab", VARIANTS[request.param], strict=True):
            fan = request.param == "gpt2"
            config = peft.LoraConfig(lora_alpha=8, fan_in_fan_out=fan, task_type="CAUSAL_LM", **variant)
            adapted = peft.get_peft_model(_load(tmp_path, request.param), config)
            with torch.no_grad():
                for parameter in adapted.parameters():
                    if parameter.requires_grad:
                        parameter.add_(0.1 * torch.randn_like(parameter))
            adapted.save_pretrained(tmp_path / name)
    return request.param, tmp_path


def _load(folder, family):
    return type(MAKE[family]()).from_pretrained(folder / "base")


def _merged(folder, family, adapter):
    return peft.PeftModel.from_pretrained(_load(folder, family), folder / adapter).merge_and_unload().state_dict()


def test_peft_loads_the_exact_merge_as_the_sum(family):
    name, folder = family
    write(MergeAdapters([open_adapter(folder / "a"), open_adapter(folder / "b")], weight=[0.5, 2]), folder / "out")
    base = _load(folder, name).state_dict()
    a, b, out = (_merged(folder, name, adapter) for adapter in ("a", "b", "out"))
    for key, weight in base.items():
        expected = weight + 0.5 * (a[key] - weight) + 2 * (b[key] - weight)
        assert torch.allclose(out[key], expected, atol=1e-6, rtol=1e-5), key


def test_peft_loads_the_extraction_as_the_fine_tune(family):
    name, folder = family
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tuned = _load(folder, name)
        with torch.no_grad():
            for parameter in tuned.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        tuned.save_pretrained(folder / "tuned")
    with open_folder(folder / "tuned") as fine, open_folder(folder / "base") as base:
        write(ExtractAdapter(fine, base, rank=64), folder / "out")
    ids = torch.arange(6).unsqueeze(0)
    loaded = peft.PeftModel.from_pretrained(_load(folder, name), folder / "out")
    assert torch.allclose(loaded(input_ids=ids).logits, tuned(ids).logits, atol=1e-5)
    out = _merged(folder, name, "out")
    for key, weight in tuned.state_dict().items():
        assert torch.allclose(out[key], weight, atol=1e-5), key
