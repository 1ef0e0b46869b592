"""The registry of views that plans can name: checkpoints rearranged or dressed without arithmetic."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

views: Registry[Any] = Registry("view", "consort.weights", decorator="view", produces="checkpoint")

view = views.registrar()
"""The decorator that makes a class or function of this package a view: `@view()`."""
