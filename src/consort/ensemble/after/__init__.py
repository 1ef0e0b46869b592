"""Strategies that work on finished answers: choose, vote, cascade."""

from consort.core.registry import Registry

after: Registry[type] = Registry(
    "answer", "consort.ensemble.after", decorator="strategy", produces="model", formerly="after"
)
strategy = after.registrar()

__all__ = ["after", "strategy"]
