"""Knowledge fusion (FuseLLM 2401.10491, FuseChat 2408.07990): models of any shape and tokenizer teach one student.

Teachers' next-token distributions are recorded (store), carried to the pivot's tokens (pairing), fused row by row
(targets) and learnt (training). Importing this package does not import torch; a name does so when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Alignment": "options",
    "Collection": "options",
    "Document": "corpus",
    "Function": "options",
    "Fusion": "targets",
    "Online": "rows",
    "Pair": "pairing",
    "Store": "store",
    "Training": "options",
    "align": "pairing",
    "collect": "store",
    "corpus_key": "corpus",
    "fitted": "corpus",
    "read_corpus": "corpus",
    "train": "training",
}

__all__ = [
    "Alignment",
    "Collection",
    "Document",
    "Function",
    "Fusion",
    "Online",
    "Pair",
    "Store",
    "Training",
    "align",
    "collect",
    "corpus_key",
    "fitted",
    "read_corpus",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
