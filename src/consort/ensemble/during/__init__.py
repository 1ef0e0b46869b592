"""Strategies that combine next-token distributions."""

from consort.core.registry import Registry

during: Registry[type] = Registry(
    "ensemble", "consort.ensemble.during", decorator="strategy", produces="model", formerly="during"
)
strategy = during.registrar()

__all__ = ["during", "strategy"]
