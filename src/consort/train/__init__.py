"""Training: one resumable loop, the losses it minimises, and low-rank adapters in peft's format.

Importing this package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Lora": "lora",
    "Recipe": "loop",
    "attach_lora": "lora",
    "distil": "losses",
    "distil_with_rest": "losses",
    "dpo": "losses",
    "entropy": "losses",
    "fit": "loop",
    "fit_steps": "loop",
    "pairwise": "losses",
    "read_adapter": "lora",
    "save_adapter": "lora",
    "rest_surprisal": "losses",
    "sft": "losses",
    "shuffled": "loop",
    "surprisal": "losses",
}

__all__ = [
    "Lora",
    "Recipe",
    "attach_lora",
    "distil",
    "distil_with_rest",
    "dpo",
    "entropy",
    "fit",
    "fit_steps",
    "pairwise",
    "read_adapter",
    "rest_surprisal",
    "save_adapter",
    "sft",
    "shuffled",
    "surprisal",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
