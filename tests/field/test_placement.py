"""Cases from the field, D2: in which dtype and on which device models work, and quantised folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import consort
from consort import lab
from consort.core.errors import BadParameter, BadPlan, ConsortError, Unsupported
from consort.core.types import Sampling
from consort.models import ByteTokenizer, HFModel, load_model
from consort.models.hf.choose import find_opener
from consort.models.placement import Placement, carried, current, held
from consort.plan import build, dump, to_plan
from consort.plan.build import Builder
from consort.plan.expression import parse
from consort.plan.references import has_weights
from consort.runs.pool import open_members
from consort.weights import open_folder
from tests.compatibility.architectures import configuration, tiny

HALVES = (torch.bfloat16, torch.float16)


def saved(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    tiny(name).to(dtype).save_pretrained(folder)
    return folder


def test_D2_a_dtype_stands_in_plans_and_comes_back(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    written = {"hf": str(folder), "tokenizer": "bytes", "dtype": "bfloat16", "device": "cpu"}
    plan = parse(written)
    assert dump(plan) == written
    model = build(plan)
    assert model.module.dtype == torch.bfloat16
    assert to_plan(model) == written


def test_D2_a_dtype_holds_for_all_of_a_team(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    one = {"hf": str(folder), "tokenizer": "bytes"}
    (tmp_path / "team.yml").write_text(json.dumps({"average": {"models": [one, {**one, "dtype": "float16"}]}}))
    team: Any = consort.model(tmp_path / "team.yml", dtype="bfloat16")
    assert [m.module.dtype for m in team.models] == [torch.bfloat16, torch.float16]
    assert len(team.generate(["once"], Sampling(max_tokens=3))[0].tokens) == 3
    assert current() == Placement()


def test_D2_what_can_be_nowhere_is_refused_where_it_is_said(tmp_path: Path) -> None:
    for key, value in (("dtype", "bf16"), ("device", "gpu"), ("device_map", "all")):
        with pytest.raises(BadParameter, match=rf"plan\.average\.models\[1\]\.{key}"):
            parse({"average": {"models": ["a", {"hf": "b", key: value}]}})
    with pytest.raises(BadPlan, match="weights at rest have no dtype or device"):
        parse({"linear": {"models": ["a", {"hf": "b", "dtype": "bfloat16"}]}})
    with pytest.raises(BadParameter, match="says where the model goes"), held(device="cpu", device_map="auto"):
        pass


def test_D2_a_worker_holds_models_as_its_caller_does() -> None:
    with held(dtype="float16"):
        make = carried(current)
    assert copy_context().run(make) == Placement(dtype="float16")
    assert current() == Placement()


def test_D2_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from consort.cli.border import run

    assert (
        run(["generate", "lab:base", "twice: abc =", "--dtype", "bfloat16", "--device", "cpu", "--max-tokens", "4"])
        == 0
    )
    assert capsys.readouterr().out
    assert run(["eval", "lab:base", "--task", "lab:tasks/skills", "--dtype", "half"]) == 2
    assert capsys.readouterr().err.startswith("error: --dtype: 'half' is no dtype of models\nhint: ")
    assert run(["score", "lab:base", "--pairs", "p.jsonl", "--device-map", "{"]) == 2
    assert capsys.readouterr().err.startswith("error: --device-map: is no JSON")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", ["llama", "gpt2+tied", "qwen3_moe", "mamba", "falcon_mamba"])
def test_D2_sixteen_bits_are_as_right_as_transformers(name: str, dtype: torch.dtype) -> None:
    text = list(b"once upon a time")
    model = HFModel(name, tiny(name).to(dtype), ByteTokenizer())
    with torch.no_grad():
        exact = tiny(name)(input_ids=torch.tensor([text])).logits[0]
        stock = model.module(input_ids=torch.tensor([text])).logits[0].float()
    session = find_opener(model)(2)
    parts = [session.feed([text[:5], text[:3]])[0], session.feed([text[5:6], []])[0], session.feed([text[6:], []])[0]]
    found = torch.cat(parts).float()
    assert float((found - exact).abs().max()) <= 2 * float((stock - exact).abs().max()) + 1e-3


def test_D2_input_embeddings_stay_in_the_file(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path, torch.bfloat16)
    before = (folder / "model.safetensors").read_bytes()
    name = "model.embed_tokens.weight"
    mapped = open_folder(folder).shards.mapped(name)
    assert mapped is not None
    assert torch.equal(mapped, load_file(folder / "model.safetensors")[name])
    mapped.zero_()
    assert (folder / "model.safetensors").read_bytes() == before
    model = load_model(folder, tokenizer="bytes", dtype="auto", device="cpu")
    wanted = model.generate(["once"])[0].tokens
    model.load_weights(open_folder(folder))
    assert model.generate(["once"])[0].tokens == wanted


PEAK = """
import sys
from contextvars import copy_context
from pathlib import Path
from consort.models import load_model
from consort.core.types import Sampling
model = load_model(sys.argv[1], tokenizer="bytes", dtype="auto", device="cpu")
model.generate(["Once upon a time"], Sampling(max_tokens=4))
[peak] = [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak / (Path(sys.argv[1]) / "model.safetensors").stat().st_size)
"""


@pytest.mark.slow
def test_D2_a_running_model_of_16_bits_needs_its_files_and_the_libraries(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22}
    config = LlamaConfig(vocab_size=32000, num_attention_heads=32, num_key_value_heads=4, **sizes)
    with torch.device("meta"):
        module = LlamaForCausalLM(config).to(torch.bfloat16)
    drawn = {name: torch.randn(p.shape).mul_(0.02).bfloat16() for name, p in module.named_parameters()}
    save_file(drawn, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(tmp_path)
    ran = subprocess.run([sys.executable, "-c", PEAK, tmp_path], capture_output=True, text=True, check=True)
    assert float(ran.stdout) <= 1.15


def quantised(folder: Path) -> Path:
    """A tiny model whose linear layers are whole numbers of 8 bits, as compressed-tensors writes it."""
    tensors = {}
    for name, tensor in tiny("llama").bfloat16().state_dict().items():
        if name.endswith("proj.weight"):
            scale = tensor.float().abs().amax(1, keepdim=True) / 127
            tensors |= {name: (tensor.float() / scale).round().to(torch.int8), f"{name}_scale": scale.bfloat16()}
        else:
            tensors[name] = tensor.contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    weights = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
    group = {"targets": ["Linear"], "weights": weights, "format": "int-quantized"}
    told = {"quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed"}
    told |= {"ignore": ["lm_head"], "config_groups": {"group_0": group}}
    config = configuration("llama").to_dict() | {"dtype": "bfloat16", "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": told}, default=str))
    return folder


def test_D2_quantised_folders_work_where_transformers_loads_them(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    (tmp_path / "plain").mkdir()
    plain = load_model(saved("llama", tmp_path / "plain"), tokenizer="bytes", device="cpu")
    model = load_model(quantised(tmp_path), tokenizer="bytes", device="cpu")
    pairs = [("once", " upon"), ("a", "bc")]
    assert model.score(pairs) == pytest.approx(plain.score(pairs), abs=0.1)
    assert len(model.generate(["once"], Sampling(max_tokens=3))[0].tokens) == 3
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["format"] = "pack-quantized"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConsortError, match="lacks model.layers.0"):
        load_model(tmp_path, tokenizer="bytes", device="cpu")


def test_D2_quantised_folders_are_no_weights_to_merge(tmp_path: Path) -> None:
    folder = str(quantised(tmp_path))
    assert not has_weights(folder)
    with pytest.raises(Unsupported, match="quantization_config: the weights are quantised") as refused:
        build(parse({"linear": {"models": [folder, folder]}}), "checkpoint")
    assert refused.value.hint is not None and "quantised from" in refused.value.hint


def test_D2_a_quantised_folder_is_a_member_without_weights(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    quantised(tmp_path)
    for file in lab.path("base").glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    [member] = open_members([str(tmp_path)], Builder())
    assert member.checkpoint is None
