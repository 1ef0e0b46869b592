"""Evidence at rest, as weights are: passages, text indices, graphs, tables. Importing this imports no numpy."""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {
    "Evidence": "evidence",
    "Graph": "graph",
    "Index": "text_index",
    "Passage": "passages",
    "Passages": "passages",
    "Retriever": "evidence",
    "Rows": "sql_rows",
    "Tables": "tables",
    "TextIndex": "text_index",
    "Triple": "graph",
    "Words": "words",
}

_NAMES, __getattr__ = lazy_names(__name__, _HOMES)

__all__ = sorted(_NAMES)
