"""Cases from the field: weights right on what people own. Each test begins with the id of its case."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from consort.core.errors import BadCheckpoint, BadParameter, BadPlan, ConsortError, Incompatible
from consort.merge import merge
from consort.weights.adapters.peft_config import peft_config
from consort.weights.checkpoint import Memory
from consort.weights.disk.folder import open_folder
from consort.weights.disk.opening import open_checkpoint
from consort.weights.disk.writer import write

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers and peft about themselves

TEXT: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


def saved(kind: str, config: Any, path: Path, seed: int = 0) -> Path:
    """A random model of a class of transformers, saved."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, kind)(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(path)
    return path


def loaded(kind: str, path: Path) -> Any:
    """The model in a folder, with no key missing, unexpected or of another shape."""
    model, info = getattr(transformers, kind).from_pretrained(path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


def mean_of(paths: list[Path]) -> dict[str, Tensor]:
    """The mean of what files hold, name by name."""
    files = [load_file(path / "model.safetensors") for path in paths]
    return {name: sum(file[name].double() for file in files) / len(files) for name in files[0]}


def edited(path: Path, tensors: Mapping[str, Tensor] | None = None, **config: Any) -> Path:
    """The folder with tensors and configuration keys added or replaced."""
    if tensors:
        file = path / "model.safetensors"
        save_file(load_file(file) | dict(tensors), file, metadata={"format": "pt"})
    known = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(known | config))
    return path


@pytest.fixture
def llama(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, seed: int = 0, **more: Any) -> Path:
        return saved("LlamaForCausalLM", transformers.LlamaConfig(**TEXT | more), tmp_path / name, seed)

    return make


def test_A1_only_the_tied_copy_is_left_out(tmp_path: Path) -> None:
    config = transformers.Gemma3Config(
        text_config=TEXT | {"sliding_window": 4, "query_pre_attn_scalar": 8},
        vision_config=VISION,
        mm_tokens_per_image=1,
    )
    config.vision_config.vision_use_head = True
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    paths = [saved("Gemma3ForConditionalGeneration", config, tmp_path / str(seed), seed) for seed in range(2)]
    right = mean_of(paths)
    assert any(".head." in name for name in right)
    write(merge("linear", [open_folder(path) for path in paths], weight=1), tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert set(found) == set(right)
    assert all(torch.allclose(found[name].double(), right[name], atol=1e-7) for name in right)
    loaded("Gemma3ForConditionalGeneration", tmp_path / "out")


@pytest.mark.parametrize("shape", [(4, 4), (32, 16)])
def test_A1_other_heads_of_a_tied_model_are_merged(llama: Any, tmp_path: Path, shape: tuple[int, int]) -> None:
    names = ("score.head.foo", "mtp.head.weight", "value_head.weight", "pooler.dense.weight")
    paths = [llama(str(seed), seed, tie_word_embeddings=True) for seed in range(2)]
    for seed, path in enumerate(paths):
        edited(path, {name: torch.full(shape, float(seed + i)) for i, name in enumerate(names)})
    right = mean_of(paths)
    merged = merge("linear", [open_folder(path) for path in paths], weight=1)
    assert set(merged.keys()) == set(right)
    assert all(torch.equal(merged[name], torch.full(shape, i + 0.5)) for i, name in enumerate(names))
    assert merged.config["tie_word_embeddings"] is True


def test_A1_the_tied_copy_in_the_file_is_left_out(llama: Any) -> None:
    path = llama("tied", tie_word_embeddings=True)
    edited(path, {"lm_head.weight": load_file(path / "model.safetensors")["model.embed_tokens.weight"]})
    merged = merge("linear", [open_folder(path)] * 2, weight=1)
    assert "lm_head.weight" not in merged.keys() and merged.config["tie_word_embeddings"] is True


SMALL_TEXT = TEXT | {"num_key_value_heads": 2, "num_layers_per_stack": 2}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("MoshiForCausalLM", "MoshiConfig"),  # more rows than tokens that the configuration states
        ("DoryForCausalLM", "DoryConfig"),  # its layers are halves
        ("HrmTextForCausalLM", "HrmTextConfig"),  # its layers are run again
    ],
)
def test_A1_sizes_are_those_that_the_architecture_makes_of_its_words(tmp_path: Path, kind: str, config: str) -> None:
    if not hasattr(transformers, config):
        pytest.skip(f"transformers has no {config}")
    made = getattr(transformers, config)(**SMALL_TEXT)
    paths = [saved(kind, made, tmp_path / str(seed), seed) for seed in range(2)]
    right = mean_of(paths)
    merged = merge("linear", [open_folder(path) for path in paths], weight=1)
    assert merged.config["vocab_size"] == 32
    write(merged, tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert set(found) == set(right)
    assert all(torch.allclose(found[name].double(), right[name], atol=1e-7) for name in right)
    loaded(kind, tmp_path / "out")


@pytest.mark.parametrize("method", ["passthrough", "linear", "stack", "ties"])
def test_A2_a_head_of_its_own_is_kept_whatever_the_config_says(llama: Any, tmp_path: Path, method: str) -> None:
    from consort.weights.views.stack import Slice, Stack

    path = edited(llama("own", tie_word_embeddings=True), {"lm_head.weight": torch.randn(32, 16)})
    own = open_folder(path)
    if method == "stack":
        made: Any = Stack([Slice(own, (0, 2))])
    elif method == "ties":
        made = merge("ties", [own], base=open_folder(llama("base", 1, tie_word_embeddings=True)), weight=1, density=1)
    else:
        made = merge(method, [own], **({"weight": 1} if method == "linear" else {}))
    assert made.config["tie_word_embeddings"] is False
    write(made, tmp_path / "out")
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        source, result = (loaded("LlamaForCausalLM", p)(tokens).logits for p in (path, tmp_path / "out"))
    assert torch.allclose(source, result, atol=1e-5)


def test_A2_one_tied_input_and_one_with_its_own_head(llama: Any, tmp_path: Path) -> None:
    tied, own = llama("tied", 0, tie_word_embeddings=True), llama("own", 1, tie_word_embeddings=True)
    head = torch.randn(32, 16)
    edited(own, {"lm_head.weight": head})
    write(merge("linear", [open_folder(tied), open_folder(own)], weight=1), tmp_path / "out")
    embedding = load_file(tied / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.allclose(
        load_file(tmp_path / "out" / "model.safetensors")["lm_head.weight"], (embedding + head) / 2, atol=1e-7
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False


def test_A3_dense_and_expert_layers_restacked(tmp_path: Path) -> None:
    from consort.weights.views.stack import Slice, Stack

    sizes = TEXT | {"num_hidden_layers": 4, "num_key_value_heads": 2, "moe_intermediate_size": 8, "n_routed_experts": 4}
    sizes |= {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
    sizes |= {"n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1}
    model = open_folder(saved("DeepseekV3ForCausalLM", transformers.DeepseekV3Config(**sizes), tmp_path / "m"))
    for number, (parts, dense) in enumerate({((1, 4),): 0, ((0, 3),): 1, ((0, 1), (0, 4)): 2}.items()):
        stack = Stack([Slice(model, part) for part in parts])
        assert stack.config["first_k_dense_replace"] == dense
        write(stack, tmp_path / f"out{number}")
        loaded("DeepseekV3ForCausalLM", tmp_path / f"out{number}")
    with pytest.raises(Incompatible, match="layer 2: mlp.experts"):
        Stack([Slice(model, (0, 2)), Slice(model, (0, 4))])


def test_A3_windows_that_the_config_leaves_to_a_default_follow_their_layers(tmp_path: Path) -> None:
    from consort.weights.views.stack import Slice, Stack

    path = saved("Gemma2ForCausalLM", transformers.Gemma2Config(**TEXT | {"num_hidden_layers": 4}), tmp_path / "m")
    config = json.loads((path / "config.json").read_text())
    kinds = config.pop("layer_types")
    (path / "config.json").write_text(json.dumps(config))
    assert Stack([Slice(open_folder(path), (1, 4))]).config["layer_types"] == kinds[1:]


def test_A4_infinity_as_transformers_writes_it(tmp_path: Path) -> None:
    sizes = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "head_dim": 8}
    config = transformers.Mamba2Config(**sizes, num_heads=4, n_groups=1)
    paths = [saved("Mamba2ForCausalLM", config, tmp_path / str(seed), seed) for seed in range(2)]
    written = json.loads((paths[0] / "config.json").read_text())["time_step_limit"]
    edited(paths[0], time_step_limit=[0.0, {"__float__": "Infinity"}])
    edited(paths[1], time_step_limit=[0.0, {"__float__": "Infinity"}])
    right = mean_of(paths)
    merged = merge("linear", [open_folder(path) for path in paths], weight=1)
    assert all(torch.allclose(merged[name].double(), right[name], atol=2.4e-7) for name in right) and written
    edited(paths[1], time_step_limit=[0.0, 1.0])
    with pytest.raises(Incompatible, match="time_step_limit"):
        merge("linear", [open_folder(path) for path in paths], weight=1)


def test_A9_one_model_in_two_layouts(tmp_path: Path) -> None:
    from consort.weights.architecture.loaded import Loaded

    sizes = TEXT | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    path = saved("Qwen3MoeForCausalLM", transformers.Qwen3MoeConfig(**sizes), tmp_path / "one")
    one = open_folder(path)
    fused = Loaded(one)
    assert "model.layers.0.mlp.experts.gate_up_proj" in fused.keys()
    write(fused, tmp_path / "two")
    loaded("Qwen3MoeForCausalLM", tmp_path / "two")
    for order in ((one, open_folder(tmp_path / "two")), (open_folder(tmp_path / "two"), one)):
        merged = merge("linear", order, weight=1)
        assert set(merged.keys()) == set(fused.keys())
        assert all(torch.equal(merged[name], fused[name]) for name in fused.keys())


def test_F6_types_of_the_configuration(llama: Any) -> None:
    path = llama("m")
    original = (path / "config.json").read_text()
    for key, value in {
        "rope_theta": "x",
        "tie_word_embeddings": "yes",
        "attention_bias": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": "1e4"},
        "sliding_window": "all",
        "rope_scaling": "yes",
        "hidden_act": 3,
        "architectures": "LlamaForCausalLM",
        "model_type": ["llama"],
        "layer_types": "full",
        "initializer_range": "big",
        "bos_token_id": "a",
        "eos_token_id": [[1]],
        "torch_dtype": 7,
        "dtype": "float99",
    }.items():
        edited(path, **{key: value})
        with pytest.raises(BadCheckpoint, match=key):
            open_folder(path)
        (path / "config.json").write_text(original)


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules"])
def test_F15_patterns_that_are_none(key: str) -> None:
    with pytest.raises(BadCheckpoint, match=key):
        peft_config(Memory({}, {"peft_type": "LORA", "r": 4, "lora_alpha": 8, key: "("}))


BROKEN: dict[str, Any] = {
    "use_rslora": "x",
    "target_modules": 3,
    "bias": "evil",
    "layers_to_transform": [99],
    "modules_to_save": ["../x"],
    "rank_pattern": {"q_proj": "4"},
    "layers_pattern": 5,
    "lora_dropout": "x",
    "init_lora_weights": "evil",
    "task_type": 9,
    "base_model_name_or_path": "org/quite-another",
}


@pytest.mark.parametrize("key", BROKEN)
def test_F15_adapters_with_impossible_values(llama: Any, tmp_path: Path, key: str) -> None:
    base = open_folder(llama("base"))
    path = tmp_path / "adapter"
    path.mkdir()
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file(
        {f"{module}.lora_A.weight": torch.ones(2, 16), f"{module}.lora_B.weight": torch.ones(16, 2)},
        path / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"], "bias": "none"}
    (path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "org/base"}))
    open_checkpoint(path, base=base)
    (path / "adapter_config.json").write_text(json.dumps(config | {key: BROKEN[key]}))
    with pytest.raises(ConsortError, match=r"x|3|evil|99|another|q_proj|5 is not") as caught:
        open_checkpoint(path, base=base)
    assert caught.value.hint
    if key == "base_model_name_or_path":
        assert open_checkpoint(path, base=base, other_base=True).keys()


def test_F16_code_of_a_stranger_is_left_out_and_told(llama: Any, caplog: Any) -> None:
    path = llama("m")
    (path / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": "x.Y"}, "model_max_length": 9})
    )
    (path / "generation_config.json").write_text(json.dumps({"auto_map": "evil.py", "top_k": 3}))
    files = open_folder(path).files()
    assert json.loads(files["tokenizer_config.json"]) == {"model_max_length": 9}
    assert json.loads(files["generation_config.json"]) == {"top_k": 3}
    assert caplog.text.count("left out") == 2
    allowed = open_folder(path, allow_remote_code=True).files()
    assert "auto_map" in allowed["tokenizer_config.json"].read_text()


@pytest.mark.parametrize("weight", [[1e308, 1e308], [1e39, 1], [-1e308, 1e308]])
def test_F18_weights_that_overflow(llama: Any, weight: list[float]) -> None:
    with pytest.raises(BadParameter, match="overflow"):
        merge("linear", [open_folder(llama("m"))] * 2, weight=weight)


@pytest.mark.parametrize("weight", [[1e-320, 1e-320], [1e-45, 2e-45], [-1e-38, -1e-38]])
def test_F18_weights_that_vanish(llama: Any, weight: list[float]) -> None:
    with pytest.raises(BadParameter, match="vanish"):
        merge("linear", [open_folder(llama("m"))] * 2, weight=weight)


SIZES_OF_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}


@pytest.mark.parametrize("kind", ["Qwen3Moe", "DeepseekV3", "GPTNeoX"])
def test_A5_an_extracted_adapter_loads_in_peft(tmp_path: Path, kind: str) -> None:
    peft = pytest.importorskip("peft")
    from consort.merge.adapters.extract_adapter import ExtractAdapter

    sizes = TEXT | SIZES_OF_EXPERTS | {"num_key_value_heads": 2, "n_routed_experts": 4, "n_group": 1, "topk_group": 1}
    sizes |= {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    config = getattr(transformers, f"{kind}Config")(**sizes, first_k_dense_replace=1, tie_word_embeddings=False)
    base, tuned = (saved(f"{kind}ForCausalLM", config, tmp_path / str(seed), seed) for seed in range(2))
    write(ExtractAdapter(open_folder(tuned), open_folder(base), rank=64), tmp_path / "adapter")
    with torch.no_grad():
        tokens = torch.arange(8)[None]
        right = loaded(f"{kind}ForCausalLM", tuned)(tokens).logits
        adapted = peft.PeftModel.from_pretrained(loaded(f"{kind}ForCausalLM", base), tmp_path / "adapter").eval()
        assert torch.allclose(adapted(tokens).logits, right, atol=1e-4)
    ours = open_checkpoint(tmp_path / "adapter", base=open_folder(base), other_base=True)
    write(ours, tmp_path / "merged")
    with torch.no_grad():
        assert torch.allclose(loaded(f"{kind}ForCausalLM", tmp_path / "merged")(tokens).logits, right, atol=1e-4)


def test_A6_a_random_gate_needs_no_tokenizer(llama: Any, tmp_path: Path) -> None:
    from consort.plan import build, parse

    paths = [str(llama(str(seed), seed)) for seed in range(2)]
    document = {"base_model": paths[0], "gate_mode": "random", "experts": [{"source_model": path} for path in paths]}
    write(build(parse(document), "checkpoint"), tmp_path / "out")
    loaded("MixtralForCausalLM", tmp_path / "out")


def test_A7_a_peft_adapter_of_a_vision_language_model(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**TEXT),
        vision_config=transformers.CLIPVisionConfig(**VISION, projection_dim=16),
        image_token_index=31,
    )
    path = saved("LlavaForConditionalGeneration", config, tmp_path / "base")
    names = set(load_file(path / "model.safetensors"))
    model = loaded("LlavaForConditionalGeneration", path)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    write(open_checkpoint(tmp_path / "adapter", base=open_folder(path)), tmp_path / "out")
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == names
    right = adapted.merge_and_unload().state_dict()
    found = loaded("LlavaForConditionalGeneration", tmp_path / "out").state_dict()
    assert all(torch.allclose(found[name], right[name], atol=1e-6) for name in right)


def test_A8_adapters_of_experts(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    path = saved("Qwen3MoeForCausalLM", transformers.Qwen3MoeConfig(**TEXT | SIZES_OF_EXPERTS), tmp_path / "base")
    wanted = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], target_parameters=wanted, init_lora_weights=False)
    adapted = peft.get_peft_model(loaded("Qwen3MoeForCausalLM", path), settings)
    adapted.save_pretrained(tmp_path / "adapter")
    write(open_checkpoint(tmp_path / "adapter", base=open_folder(path)), tmp_path / "out")
    right = adapted.merge_and_unload().state_dict()
    found = loaded("Qwen3MoeForCausalLM", tmp_path / "out").state_dict()
    assert all(torch.allclose(found[name], right[name], atol=1e-6) for name in right)


def test_A12_two_equal_experts_of_a_qwen3_are_the_dense_model(tmp_path: Path) -> None:
    from consort.mixture.sparse_mixture import SparseMixture

    path = saved("Qwen3ForCausalLM", transformers.Qwen3Config(**TEXT, tie_word_embeddings=False), tmp_path / "m")
    dense = open_folder(path)
    write(SparseMixture(dense, [dense, dense], gate="random"), tmp_path / "out")
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        sparse = loaded("Qwen3MoeForCausalLM", tmp_path / "out")(tokens).logits
        assert torch.allclose(sparse, loaded("Qwen3ForCausalLM", path)(tokens).logits, atol=1e-5)


@pytest.mark.parametrize("first", [torch.bfloat16, torch.float16])
def test_A13_two_16_bit_types_make_the_first(llama: Any, caplog: Any, first: torch.dtype) -> None:
    from consort.weights.views.basic import Cast

    second = torch.float16 if first == torch.bfloat16 else torch.bfloat16
    one, other = Cast(open_folder(llama("a")), first), Cast(open_folder(llama("b", 1)), second)
    merged = merge("linear", [one, other], weight=1)
    name = "model.layers.0.mlp.up_proj.weight"
    assert merged.spec(name).dtype == first
    assert torch.equal(merged[name], ((one[name].float() + other[name].float()) / 2).to(first))
    assert "bfloat16" in caplog.text and "that of the first model" in caplog.text
    caplog.clear()
    assert merge("linear", [one, other], weight=1, dtype="float32").spec(name).dtype == torch.float32
    assert not caplog.text
    wide = Cast(open_folder(llama("c", 2)), torch.float32)
    assert merge("linear", [one, wide], weight=1).spec(name).dtype == torch.float32
    assert "larger than the first" in caplog.text


def test_A14_differing_rope_has_one_way_out_in_both_plans(llama: Any) -> None:
    from consort.plan import build, parse

    one = llama("a")
    other = llama("b", 1, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    document: dict[str, Any] = {
        "merge_method": "linear",
        "models": [{"model": str(path), "parameters": {"weight": 1}} for path in (one, other)],
    }
    with pytest.raises(Incompatible, match="rope_theta"):
        build(parse(document), "checkpoint")
    for path, theta in ((one, 1e4), (other, 5e5)):
        made = build(parse(document | {"config_conflict": {"rope.rope_theta": str(path)}}), "checkpoint")
        assert made.config["rope_parameters"]["rope_theta"] == theta


def qwen2_vl(path: Path, seed: int = 0) -> Path:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    vision = {"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 16, "patch_size": 4}
    config = transformers.Qwen2VLConfig(
        text_config=TEXT | {"rope_parameters": rope, "tie_word_embeddings": False, "rms_norm_eps": 1e-6},
        vision_config=vision,
        tie_word_embeddings=False,
        **{key: 31 - i for i, key in enumerate(("image_token_id", "video_token_id", "vision_start_token_id"))},
    )
    return saved("Qwen2VLForConditionalGeneration", config, path, seed)


def test_A10_the_text_part_merged_with_a_text_model(tmp_path: Path) -> None:
    from consort.plan import build, parse

    vl, text = qwen2_vl(tmp_path / "vl"), tmp_path / "text"
    saved("Qwen2ForCausalLM", transformers.Qwen2Config(**TEXT, tie_word_embeddings=False), text, 1)
    alone = {"part": {"model": str(vl), "part": "text"}}
    write(build(parse(alone), "checkpoint"), tmp_path / "alone")
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        right = loaded("Qwen2VLForConditionalGeneration", vl)(tokens).logits
        assert torch.allclose(loaded("Qwen2ForCausalLM", tmp_path / "alone")(tokens).logits, right, atol=1e-5)
    merged = {"linear": {"models": [alone, str(text)], "weight": 1}}
    made = build(parse({"assemble": {"models": [merged], "parts": ["text"], "base": str(vl)}}), "checkpoint")
    write(made, tmp_path / "out")
    loaded("Qwen2VLForConditionalGeneration", tmp_path / "out")
    source, other = load_file(vl / "model.safetensors"), load_file(text / "model.safetensors")
    for name, found in load_file(tmp_path / "out" / "model.safetensors").items():
        expected = source[name] if "visual" in name else (source[name] + other[name]) / 2
        assert torch.allclose(found, expected, atol=1e-7), name
    with pytest.raises(Incompatible) as caught:
        merge("linear", [open_folder(vl), open_folder(text)], weight=1)
    assert "part" in str(caught.value.hint) and "assemble" in str(caught.value.hint)


def test_A11_several_modules_of_a_mergekit_file(tmp_path: Path) -> None:
    from consort.plan import build, parse

    paths = [qwen2_vl(tmp_path / str(seed), seed) for seed in range(2)]
    models = [{"model": str(path), "parameters": {"weight": w}} for path, w in zip(paths, (1, 3), strict=True)]
    document = {
        "merge_method": "linear",
        "modules": {"text_decoder": {"models": models}, "vision_tower": {"models": models[:1]}},
    }
    write(build(parse(document), "checkpoint"), tmp_path / "out")
    loaded("Qwen2VLForConditionalGeneration", tmp_path / "out")
    one, other = (load_file(path / "model.safetensors") for path in paths)
    for name, found in load_file(tmp_path / "out" / "model.safetensors").items():
        expected = one[name] if "visual" in name else (one[name] + 3 * other[name]) / 4
        assert torch.allclose(found, expected, atol=1e-7), name
    with pytest.raises(BadPlan, match="nose"):
        parse(document | {"modules": {"nose": {"models": models}, "text_decoder": {"models": models}}})


def test_F4_control_characters_in_names_are_visible_in_the_card(llama: Any, tmp_path: Path) -> None:
    name = "extra\x1b[31m\u202e\x07.weight"
    path = edited(llama("m\x1b[31m"), {name: torch.ones(2)})
    write(merge("linear", [open_folder(path)], weight=1), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert not set("\x1b\x07\u202e") & set(card) and "x1b" in card
    assert name in load_file(tmp_path / "out" / "model.safetensors")
