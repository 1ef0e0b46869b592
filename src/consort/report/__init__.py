"""The report of a run: one self-contained HTML file."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {"Run": "schema", "read_run": "schema", "render": "page", "write_report": "page"}

__all__ = ["Run", "read_run", "render", "write_report"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
