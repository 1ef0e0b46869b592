"""Readings, one a file: what of an answer's text is compared. Importing this imports no numpy."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

readings: Registry[Any] = Registry("reading", "consort.ensemble.readings", decorator="reading", produces="reading")
reading = readings.registrar()
"""The decorator that makes a class of this package a reading: `answer: numeric` in plans."""
