"""Small checkpoints and folders for the tests of `weights`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from consort.weights.checkpoint import Memory

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 6,
    "tie_word_embeddings": False,
    "dtype": "float32",
}

MakeFolder = Callable[..., Path]


def tensors(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A few tensors with names as of a Llama."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {"model.embed_tokens.weight": (6, 4), "lm_head.weight": (6, 4), "model.norm.weight": (4,)}
    shapes |= {f"model.layers.{i}.self_attn.q_proj.weight": (4, 4) for i in range(2)}
    return {name: torch.randn(shape, generator=rng).to(dtype) for name, shape in shapes.items()}


@pytest.fixture
def memory() -> Memory:
    return Memory(tensors(), CONFIG, files={"tokenizer.json": b"{}"})


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """make_folder("name", weights=..., config=..., files={...}) writes a model folder with the safetensors library."""

    def make(
        name: str = "model",
        *,
        weights: Mapping[str, Tensor] | None = None,
        config: Mapping[str, Any] | None = CONFIG,
        files: Mapping[str, str | bytes] | None = None,
    ) -> Path:
        path = tmp_path / name
        path.mkdir()
        if weights is None:
            weights = tensors()
        if weights:
            save_file(dict(weights), path / "model.safetensors", metadata={"format": "pt"})
        contents = {"config.json": json.dumps(config)} if config is not None else {}
        for file, content in {**contents, **(files or {})}.items():
            (path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make
