"""How peft names the files of an adapter and the tensors in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."


def is_adapter_config(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is an adapter's, not a model's."""
    return "peft_type" in config


def factor_keys(module: str, *, embedding: bool) -> tuple[str, str]:
    """What peft calls the factors A and B of a module."""
    stem = f"{PREFIX}{module}"
    if embedding:
        return f"{stem}.lora_embedding_A", f"{stem}.lora_embedding_B"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def is_adapter(path: str | Path) -> bool:
    """Whether a folder holds an adapter rather than a model (peft may save the model's configuration beside it)."""
    path = Path(path)
    if not (path / ADAPTER_CONFIG).is_file():
        return False
    has_weights = any(not file.name.startswith("adapter_") for file in path.glob("*.safetensors"))
    return not ((path / "config.json").is_file() and has_weights)
