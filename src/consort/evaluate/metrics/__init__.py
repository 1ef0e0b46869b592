"""Metrics, one a file: the registry. Importing it imports no numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consort.core.registry import Registry

if TYPE_CHECKING:
    from consort.evaluate.registry import Metric

METRICS: Registry[Metric] = Registry("metric", "consort.evaluate.metrics", decorator="metric", produces="metric")
