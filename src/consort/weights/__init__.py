"""Checkpoints at rest: read, viewed, adapted and written without loading a model."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Adapted": "lora",
    "Adapter": "lora",
    "Cast": "views",
    "ChatTemplate": "chat_template",
    "Checkpoint": "checkpoint",
    "Delta": "views",
    "Difference": "family",
    "Folder": "folder",
    "Memory": "checkpoint",
    "Permuted": "permute",
    "Renamed": "views",
    "Selected": "views",
    "Slice": "stack",
    "Spec": "checkpoint",
    "Stack": "stack",
    "Vocabulary": "vocab_read",
    "Written": "writer",
    "ZeroOutput": "zero_output",
    "aligned_to": "permute",
    "align_vocabularies": "vocab",
    "declared_base": "card",
    "describe": "card",
    "differences": "family",
    "interleave": "stack",
    "is_adapter": "opening",
    "layer_count": "family",
    "layer_of": "family",
    "leaves": "checkpoint",
    "open_adapter": "lora",
    "open_checkpoint": "opening",
    "open_folder": "folder",
    "read_vocabulary": "vocab_read",
    "role_of": "family",
    "upscale": "stack",
    "vocabulary_axis": "family",
    "whole": "checkpoint",
    "write": "writer",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import on first use: `import consort.weights` alone does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
