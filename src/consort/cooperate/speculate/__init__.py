"""Speculative decoding: a cheap draft guesses ahead, the target checks a whole guess in one pass; nothing is lost.

Importing this package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from consort.core.registry import Registry

speculate: Registry[type] = Registry("speculate", "consort.cooperate.speculate", decorator="strategy", produces="model")
strategy = speculate.registrar()

_HOME = {
    "Controller": "controller",
    "Costs": "costs",
    "Draft": "draft",
    "Drafter": "draft",
    "TextDrafter": "lookup",
    "ModelDrafter": "model_draft",
    "Pipeline": "pipeline",
    "SlemDrafter": "slem",
    "Speculate": "speculation",
    "StagedDrafter": "staged",
    "TreeDrafter": "tree",
    "Verdict": "verify",
    "custom_generate": "hook",
}

__all__ = [
    "Controller",
    "Costs",
    "Draft",
    "Drafter",
    "ModelDrafter",
    "Pipeline",
    "SlemDrafter",
    "Speculate",
    "StagedDrafter",
    "TextDrafter",
    "TreeDrafter",
    "Verdict",
    "custom_generate",
    "speculate",
    "strategy",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
