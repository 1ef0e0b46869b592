"""Checkpoints at rest: read, viewed, adapted and written without loading a model."""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {
    "Adapted": "adapters.lora",
    "Adapter": "adapters.lora",
    "Cast": "views.basic",
    "ChatTemplate": "views.chat_template",
    "Checkpoint": "checkpoint",
    "Delta": "views.basic",
    "Difference": "family",
    "Folder": "disk.folder",
    "Memory": "checkpoint",
    "Permuted": "views.permute",
    "Renamed": "views.basic",
    "Selected": "views.basic",
    "Slice": "views.stack",
    "Spec": "checkpoint",
    "Stack": "views.stack",
    "Vocabulary": "vocabulary.read",
    "Written": "disk.writer",
    "ZeroOutput": "views.zero_output",
    "align_vocabularies": "vocabulary.align",
    "aligned_to": "views.permute",
    "declared_base": "disk.card",
    "describe": "disk.card",
    "differences": "family",
    "interleave": "views.stack",
    "is_adapter": "adapters.files",
    "layer_count": "family",
    "layer_of": "family",
    "leaves": "checkpoint",
    "open_adapter": "adapters.lora",
    "open_checkpoint": "disk.opening",
    "open_folder": "disk.folder",
    "read_vocabulary": "vocabulary.read",
    "role_of": "family",
    "upscale": "views.stack",
    "vocabulary_axis": "family",
    "whole": "checkpoint",
    "write": "disk.writer",
}

__all__, __getattr__ = lazy_names(__name__, _HOMES)
