"""The report of a run: one self-contained HTML file."""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {
    "Run": "schema",
    "read_run": "schema",
    "Report": "model",
    "render": "page",
    "render_run": "page",
    "write_report": "page",
}

__all__, __getattr__ = lazy_names(__name__, _HOMES)
