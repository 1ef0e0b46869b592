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

from consort.merge import merge
from consort.weights.disk.folder import open_folder
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
