"""Models that are made of one model and read it in another way; plans find them here."""

from __future__ import annotations

from consort.core.registry import Registry

models: Registry[type] = Registry("model", "consort.models", decorator="strategy", produces="model")
strategy = models.registrar()
