"""What teachers know, recorded: rows of next-token distributions, made the targets of a student's tokens."""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {
    "Alignment": "options",
    "Collection": "options",
    "Document": "corpus",
    "Function": "options",
    "Fusion": "targets",
    "Online": "rows",
    "Pair": "pairing",
    "Store": "store",
    "align": "pairing",
    "collect": "store",
    "corpus_key": "corpus",
    "fitted": "corpus",
    "read_corpus": "corpus",
}

__all__, __getattr__ = lazy_names(__name__, _HOMES)
