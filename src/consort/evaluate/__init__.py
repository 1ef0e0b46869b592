"""Measuring: metrics, evaluation, comparison with intervals, and the gate that never returns worse.

Importing this package imports neither numpy nor torch; a name imports its module when it is first asked for.
"""

from __future__ import annotations

from consort.core.packages import callable_package, lazy_names

_HOMES = {
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

__all__, __getattr__ = lazy_names(__name__, _HOMES)

callable_package(__name__)
