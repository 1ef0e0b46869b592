"""Merges that match hidden units, not only names: the registry. Importing it imports no torch."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

units: Registry[Any] = Registry("units", "consort.merge.units", decorator="matched", produces="checkpoint")

matched = units.registrar()
"""The decorator that makes a class of this package a name in plans: `@matched(paper="…")`."""

__all__ = ["matched", "units"]
