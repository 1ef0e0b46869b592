"""A zoo of models of unknown kinship: how alike they are, which of them can be merged, which of them do harm.

Importing this package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Cluster": "clusters",
    "Suspicion": "harmful",
    "Similarities": "similarity",
    "architecture_families": "families",
    "cluster": "clusters",
    "components": "clusters",
    "find_harmful": "harmful",
    "leader": "clusters",
    "similarities": "similarity",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
