"""Transformers models from folders and from checkpoints."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from consort.core.errors import BadCheckpoint, BadData, BadParameter, Incompatible, Unsupported
from consort.core.types import Sampling
from consort.models import HFModel, load_model
from consort.models.hf.choose import find_stock_opener
from consort.models.tokens.tokenizer import ByteTokenizer
from consort.weights.checkpoint import Checkpoint, Spec

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
}


@dataclass
class Memory:
    """A checkpoint in memory that counts its reads."""

    tensors: dict[str, Tensor]
    config: Mapping[str, Any] = field(default_factory=lambda: CONFIG)
    name: str = "memory"
    inputs: Sequence[Checkpoint] = ()
    read: list[str] = field(default_factory=list)

    def keys(self) -> list[str]:
        return list(self.tensors)

    def spec(self, name: str) -> Spec:
        return Spec(tuple(self.tensors[name].shape), self.tensors[name].dtype)

    def __getitem__(self, name: str) -> Tensor:
        self.read.append(name)
        return self.tensors[name].clone()

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        self.read.append(name)
        out.copy_(self.tensors[name].view(-1)[start:stop])

    def files(self) -> Mapping[str, Path | bytes]:
        return {"generation_config.json": json.dumps({"eos_token_id": [4]}).encode()}


def weights(seed: int, *, tied: bool = True) -> dict[str, Tensor]:
    from transformers import AutoModelForCausalLM, LlamaConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(LlamaConfig(**{**CONFIG, "tie_word_embeddings": tied}))
    state = {name: tensor.detach() * 4 for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if not tied or name != "lm_head.weight"}


def tiny(kind: str) -> HFModel:
    """A random model of an architecture of transformers, with bytes as tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_key_value_heads": 1}
    special |= {"head_dim": 8} if kind == "gemma" else {}
    config = AutoConfig.for_model(kind, vocab_size=256, max_position_embeddings=64, **sizes, **special)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HFModel(kind, AutoModelForCausalLM.from_config(config), ByteTokenizer())


def logits(model: HFModel) -> Tensor:
    return model.open().feed([[5, 6, 7]])[0]


def test_a_checkpoint_is_read_once_and_lazily() -> None:
    source = Memory(weights(0))
    model = load_model(source, tokenizer="bytes", device="cpu")
    assert sorted(source.read) == sorted(source.keys())
    assert (model.name, model.window, model.ends) == ("memory", 32, {2, 4})
    state = model.module.state_dict()
    assert all(state[name].equal(tensor) for name, tensor in source.tensors.items())


def test_a_folder_equals_the_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(weights(0), tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    model = load_model(tmp_path, tokenizer="bytes", name="mine", device="cpu")
    assert model.name == "mine"
    assert logits(model).equal(logits(load_model(Memory(weights(0)), tokenizer="bytes", device="cpu")))


def test_embeddings_end_tied_or_untied_as_the_config_says() -> None:
    tied = load_model(Memory(weights(0)), tokenizer="bytes", device="cpu").module
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    config = {**CONFIG, "tie_word_embeddings": False}
    untied = load_model(Memory(weights(0, tied=False), config), tokenizer="bytes", device="cpu").module
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight
    with pytest.raises(BadCheckpoint, match="ties the output embeddings"):
        load_model(Memory(weights(0, tied=False)), tokenizer="bytes", device="cpu")


def test_missing_and_unexpected_tensors_are_named() -> None:
    tensors = weights(0)
    tensors["stray"] = tensors.pop("model.norm.weight")
    with pytest.raises(BadCheckpoint, match=r"memory: lacks model.norm.weight; has stray"):
        load_model(Memory(tensors), tokenizer="bytes", device="cpu")
    with pytest.raises(BadCheckpoint, match=r"memory: model.norm.weight is \[3\] instead of \[16\]"):
        load_model(Memory({**weights(0), "model.norm.weight": torch.ones(3)}), tokenizer="bytes", device="cpu")


def test_weights_are_refilled_in_place() -> None:
    model = load_model(Memory(weights(0)), tokenizer="bytes", device="cpu")
    embedding = model.module.model.embed_tokens.weight
    before = logits(model)
    model.load_weights(Memory(weights(1)))
    assert model.module.model.embed_tokens.weight is embedding
    assert logits(model).equal(logits(load_model(Memory(weights(1)), tokenizer="bytes", device="cpu")))
    model.load_weights(Memory(weights(0)))
    assert logits(model).equal(before)


def test_a_refill_that_does_not_fit_changes_nothing() -> None:
    model = load_model(Memory(weights(0)), tokenizer="bytes", device="cpu")
    before = logits(model)
    tensors = weights(1)
    del tensors["model.norm.weight"]
    with pytest.raises(Incompatible, match=r"memory: lacks model.norm.weight"):
        model.load_weights(Memory(tensors))
    with pytest.raises(Incompatible, match=r"model.norm.weight is \[3\] instead of \[16\]"):
        model.load_weights(Memory({**weights(1), "model.norm.weight": torch.ones(3)}))
    assert logits(model).equal(before)


def test_dtype() -> None:
    half = load_model(Memory(weights(0)), tokenizer="bytes", dtype="bfloat16", device="cpu")
    assert half.module.dtype == torch.bfloat16
    assert logits(half).dtype == torch.float32
    with pytest.raises(BadParameter, match="dtype"):
        load_model(Memory(weights(0)), dtype="int3")


def test_what_cannot_be_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="does not exist"):
        load_model(tmp_path / "none")
    with pytest.raises(BadCheckpoint, match="memory: has no tokenizer"):
        load_model(Memory(weights(0)), device="cpu")
    with pytest.raises(BadCheckpoint, match="memory: cannot be loaded"):
        load_model(Memory(weights(0), {**CONFIG, "model_type": "nonsense"}), tokenizer="bytes", device="cpu")
    with pytest.raises(Incompatible, match="less than the 256 bytes"):
        load_model(Memory(weights(0), {**CONFIG, "vocab_size": 255}), tokenizer="bytes", device="cpu")
    with pytest.raises(BadCheckpoint, match="own code"):
        load_model(Memory(weights(0), {**CONFIG, "auto_map": {"AutoConfig": "x.Y"}}), tokenizer="bytes")


def test_an_encoder_with_a_decoder_is_no_causal_model() -> None:
    config = {"model_type": "t5", "vocab_size": 256, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 24}
    with pytest.raises(Unsupported, match="t5 is no architecture of causal language models"):
        load_model(Memory({"shared.weight": torch.zeros(256, 16)}, config), tokenizer="bytes")


def test_sessions_refuse_what_the_model_cannot_read() -> None:
    model = load_model(Memory(weights(0)), tokenizer="bytes", device="cpu")
    with pytest.raises(BadData, match="33 tokens are more than the context window, 32"):
        model.open().feed([[0] * 33])
    with pytest.raises(BadData, match="no token 256 among 256"):
        model.open().feed([[256]])


def test_greedy_is_what_transformers_generates() -> None:
    model = load_model(Memory(weights(3)), tokenizer="bytes", device="cpu")
    prompts = ["once", "a", "there was"]
    answers = model.generate(prompts, Sampling(max_tokens=20))
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([model.tokenizer.encode(prompt)])
        options: dict[str, Any] = {"do_sample": False, "eos_token_id": sorted(model.ends), "pad_token_id": 0}
        out = model.module.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, **options)
        assert answer.tokens == tuple(out[0, ids.shape[1] :].tolist())


def test_nothing_is_left_behind_and_no_setting_is_changed(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    state = torch.get_rng_state()
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    load_model(Memory(weights(0)), tokenizer="bytes", device="cpu").generate(["x"], Sampling(temperature=1.0))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert torch.get_rng_state().equal(state)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(value: float) -> None:
    model = load_model(Memory({**weights(0), "model.norm.weight": torch.full((16,), value)}), tokenizer="bytes")
    with pytest.raises(BadCheckpoint, match="memory: its logits are NaN or infinite") as refused:
        model.generate(["a"], Sampling(max_tokens=1))
    assert "weights" in str(refused.value.hint)


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": "x"}, {"num_attention_heads": 7}, {"num_attention_heads": 0}, {"rms_norm_eps": "x"}]
    + [{"head_dim": 0}, {"hidden_act": "none"}, {"intermediate_size": 10**12}, {"num_hidden_layers": -1}],
    ids=str,
)
def test_an_impossible_configuration_is_the_checkpoints_fault(change: dict[str, Any]) -> None:
    with pytest.raises(BadCheckpoint, match="memory: "):
        load_model(Memory(weights(0), {**CONFIG, **change}), tokenizer="bytes")


def test_a_broken_file_is_named_by_its_model() -> None:
    class Broken(Memory):
        def files(self) -> Mapping[str, Path | bytes]:
            return {"generation_config.json": b"{"}

    with pytest.raises(BadCheckpoint) as refused:
        load_model(Broken(weights(0)), tokenizer="bytes")
    assert refused.value.field == "memory: generation_config.json"


def counted(model: HFModel) -> list[int]:
    """How many token places each forward pass of the module is given from now on."""
    fed: list[int] = []
    forward = model.module.forward

    def counting(*arguments: Any, **named: Any) -> Any:
        fed.append(named["input_ids"].numel())
        return forward(*arguments, **named)

    counting.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    model.module.forward = counting
    return fed


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "olmo2", "phi3", "gemma", "falcon", "llama"])
def test_a_session_reads_each_token_once(kind: str) -> None:
    model = tiny(kind)
    session = find_stock_opener(model)(2)
    fed = counted(model)
    session.feed([[5, 6, 7], [8, 9, 10]], last=True)
    for token in (11, 12, 13):
        session.feed([[token], [token]], last=True)
    assert fed == [6, 2, 2, 2]
