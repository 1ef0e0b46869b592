"""Confidences, one a file: how sure an answer is. Importing this imports no numpy."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

confidences: Registry[Any] = Registry(
    "confidence", "consort.ensemble.confidences", decorator="confidence", produces="confidence"
)
confidence = confidences.registrar()
"""The decorator that makes a class of this package a confidence: `confidence: min_probability` in plans."""
