"""Retrieval: what a model does not know is looked up, and quoted to it as data.

Importing this package imports no numpy; a name does so when it is first asked for.
"""

from __future__ import annotations

from consort.core.packages import lazy_names
from consort.core.registry import Registry

retrieve: Registry[type] = Registry("retrieve", "consort.cooperate.retrieve", decorator="strategy", produces="model")
strategy = retrieve.registrar()
"""The decorator that makes a class of this package a model: `augmented: {model: a, retriever: …}` in plans."""

_NAMES, __getattr__ = lazy_names(
    __name__, {"Augmented": "augmented", "MultiHop": "multi_hop", "TextToSql": "text_to_sql"}
)

__all__ = sorted([*_NAMES, "retrieve", "strategy"])
