"""Adapters made from adapters or from models, and laid over a base: the registry. Importing it imports no torch."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

adapters: Registry[Any] = Registry("adapter", "consort.merge.adapters", decorator="adapter", produces="checkpoint")

adapter = adapters.registrar()
"""The decorator that makes a class of this package a name in plans: `@adapter(paper="…")`.

With `takes="adapters"` a folder given as `model` or among `models` is an adapter, and nothing is laid under it.
"""

__all__ = ["adapter", "adapters"]
