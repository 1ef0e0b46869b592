"""Measuring: metrics, evaluation, comparison with intervals, and the gate that never returns worse.

Importing this package imports neither numpy nor torch; a name imports its module when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from consort.core.packages import callable_package

_HOME = {
    "Comparison": "comparison",
    "Decision": "comparison",
    "METRICS": "registry",
    "Result": "result",
    "compare": "comparison",
    "comparison_table": "table",
    "evaluate": "run",
    "gate": "comparison",
    "metric": "registry",
    "objective": "run",
    "plain_table": "table",
}

__all__ = [
    "METRICS",
    "Comparison",
    "Decision",
    "Result",
    "compare",
    "comparison_table",
    "evaluate",
    "gate",
    "metric",
    "objective",
    "plain_table",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


callable_package(__name__)
