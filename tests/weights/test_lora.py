"""Adapters against peft's own merge, by hand, and the adapters that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from consort.core.errors import BadCheckpoint, Incompatible, Unsupported
from consort.weights.checkpoint import Checkpoint, Memory
from consort.weights.lora import Adapted, open_adapter
from consort.weights.opening import open_checkpoint

MakeAdapter = Callable[..., Path]
MODULE = "base_model.model.layer"


@pytest.fixture
def make_adapter(tmp_path: Path) -> MakeAdapter:
    def make(tensors: dict[str, torch.Tensor], **config: Any) -> Path:
        path = tmp_path / "adapter"
        path.mkdir(exist_ok=True)
        settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "base_model_name_or_path": "org/base", **config}
        (path / "adapter_config.json").write_text(json.dumps(settings))
        save_file(tensors, path / "adapter_model.safetensors")
        return path

    return make


def factors(a: list[list[float]], b: list[list[float]], module: str = MODULE) -> dict[str, torch.Tensor]:
    return {f"{module}.lora_A.weight": torch.tensor(a), f"{module}.lora_B.weight": torch.tensor(b)}


IDENTITY = Memory({"layer.weight": torch.eye(2), "layer.bias": torch.zeros(2)}, {}, name="base")
HAND = factors([[1.0, 1.0]], [[1.0], [2.0]])


def test_the_delta_of_the_specification(make_adapter: MakeAdapter) -> None:
    adapted = open_checkpoint(make_adapter(HAND), base=IDENTITY)
    assert isinstance(adapted, Checkpoint) and adapted.name == "base+adapter"
    assert adapted["layer.weight"].tolist() == [[3, 2], [4, 5]]
    assert adapted["layer.bias"].tolist() == [0, 0]


def test_scales_and_patterns(make_adapter: MakeAdapter) -> None:
    two = factors([[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]])
    cases: list[tuple[dict[str, Any], float]] = [
        ({"r": 2, "lora_alpha": 4}, 2.0),
        ({"r": 2, "lora_alpha": 4, "use_rslora": True}, 4 / 2**0.5),
        ({"r": 8, "rank_pattern": {"layer": 2}, "lora_alpha": 4}, 2.0),
        ({"r": 2, "alpha_pattern": {"la[xy]er": 6}}, 3.0),
    ]
    for config, scale in cases:
        adapted = Adapted(IDENTITY, open_adapter(make_adapter(two, **config)))
        assert adapted["layer.weight"][0, 0].item() == pytest.approx(1 + scale, rel=1e-6)


def test_fan_in_fan_out_and_embeddings_are_stored_transposed(make_adapter: MakeAdapter) -> None:
    base = Memory({"layer.weight": torch.zeros(3, 2)}, {})
    a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [10.0]])
    expected = [[2, 20], [4, 40], [6, 60]]
    conv = make_adapter({f"{MODULE}.lora_A.weight": a, f"{MODULE}.lora_B.weight": b}, fan_in_fan_out=True)
    assert Adapted(base, open_adapter(conv))["layer.weight"].tolist() == expected
    embedding = make_adapter({f"{MODULE}.lora_embedding_A": a, f"{MODULE}.lora_embedding_B": b})
    assert Adapted(base, open_adapter(embedding))["layer.weight"].tolist() == expected


def test_saved_modules_and_biases_replace(make_adapter: MakeAdapter) -> None:
    replace = {f"{MODULE}.modules_to_save.weight": 7 * torch.ones(2, 2), f"{MODULE}.bias": torch.ones(2)}
    adapted = Adapted(IDENTITY, open_adapter(make_adapter(replace)))
    assert adapted["layer.weight"].tolist() == [[7, 7], [7, 7]] and adapted["layer.bias"].tolist() == [1, 1]


def test_an_entry_has_the_same_bits_however_it_is_read(make_adapter: MakeAdapter) -> None:
    rng = torch.Generator().manual_seed(0)
    base = Memory({"layer.weight": torch.randn(700, 900, generator=rng)}, {})
    a, b = torch.randn(5, 900, generator=rng), torch.randn(700, 5, generator=rng)
    adapted = Adapted(base, make_adapter({f"{MODULE}.lora_A.weight": a, f"{MODULE}.lora_B.weight": b}, r=5))
    whole = adapted["layer.weight"].view(-1)
    for start, stop in ((0, 1), (899, 901), (262_143, 300_000), (123, 629_999), (629_999, 630_000)):
        out = torch.empty(stop - start)
        adapted.read_into("layer.weight", start, stop, out)
        assert torch.equal(out, whole[start:stop])


FAULTS: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any], type[Exception], str]] = {
    "no target": (factors([[1.0, 1.0]], [[1.0], [2.0]], "base_model.model.other"), {}, Incompatible, "other.lora_A"),
    "another width": (factors([[1.0] * 3], [[1.0], [2.0]]), {}, Incompatible, r"\[2, 2\], its factors are \[1, 3\]"),
    "rank mismatch": (HAND, {"r": 4}, Incompatible, "have rank 1, the configuration says 4"),
    "half a pair": ({f"{MODULE}.lora_A.weight": torch.ones(1, 2)}, {}, BadCheckpoint, "has only"),
    "replacement": ({f"{MODULE}.weight": torch.ones(3, 3)}, {}, Incompatible, r"is \[2, 2\], its replacement \[3, 3\]"),
    "no alpha": (HAND, {"lora_alpha": "x"}, BadCheckpoint, "is no number"),
    "no lora": (HAND, {"peft_type": "IA3"}, Unsupported, "IA3"),
    "changed base": (HAND, {"init_lora_weights": "pissa_niter_4"}, Unsupported, "init_lora_weights"),
    "replication": (HAND, {"layer_replication": [[0, 2]]}, Unsupported, "layer_replication"),
    "endless pattern": (HAND, {"rank_pattern": {"(a+)+b": 1}}, Unsupported, "pattern"),
    "broken pattern": (HAND, {"alpha_pattern": {"[": 1}}, BadCheckpoint, "is invalid"),
    "dora": (HAND | {f"{MODULE}.lora_magnitude_vector": torch.ones(2)}, {}, BadCheckpoint, "incomplete|has only"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_adapter_that_does_not_fit_is_refused(case: str, make_adapter: MakeAdapter) -> None:
    tensors, config, kind, said = FAULTS[case]
    path = make_adapter(tensors, **config)
    with pytest.raises(kind, match=said) as caught:
        open_checkpoint(path, base=IDENTITY)
    assert caught.value.hint and caught.value.field  # type: ignore[attr-defined]


def test_an_adapter_needs_its_base_by_hand(make_adapter: MakeAdapter) -> None:
    with pytest.raises(BadCheckpoint, match="is an adapter") as caught:
        open_checkpoint(make_adapter(HAND))
    assert "'org/base'" in str(caught.value.hint)


def test_a_pickled_adapter_is_refused(make_adapter: MakeAdapter) -> None:
    path = make_adapter(HAND)
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
    with pytest.raises(BadCheckpoint, match="only pickle"):
        open_checkpoint(path, base=IDENTITY)


VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    "rslora": {"target_modules": ["q_proj", "up_proj"], "use_rslora": True},
    "patterns": {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"q_.*": 3}},
    "dora": {"target_modules": ["q_proj", "o_proj"], "use_dora": True},
    "embedding": {"target_modules": ["embed_tokens", "v_proj"]},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"], "bias": "none"},
}


@pytest.mark.filterwarnings("ignore")  # peft warns of its own use of transformers and of its choices
@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_to_pefts_merge_and_unload(variant: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 32,
    }
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, tie_word_embeddings=False))
    model.save_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, **VARIANTS[variant]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    adapted.save_pretrained(tmp_path / "adapter")
    expected = adapted.merge_and_unload().state_dict()
    base = open_checkpoint(tmp_path / "base")
    ours = open_checkpoint(tmp_path / "adapter", base=base)
    assert set(ours.keys()) == set(expected)
    untouched = load_file(tmp_path / "base" / "model.safetensors")
    for name, tensor in expected.items():
        assert torch.allclose(ours[name], tensor, atol=1e-6, rtol=1e-5), name
    assert any(not torch.equal(ours[name], untouched[name]) for name in untouched)
