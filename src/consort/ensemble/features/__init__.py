"""Features of prompts, one kind a file: what routers see. Importing this imports no numpy."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

features: Registry[Any] = Registry(
    "features", "consort.ensemble.features", decorator="feature", produces="features", reference="encoder"
)
feature = features.registrar()
"""The decorator that makes a class of this package features: `features: ngrams` in plans; else a folder."""
