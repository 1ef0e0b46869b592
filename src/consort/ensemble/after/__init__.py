"""Strategies that work on finished answers: choose, vote, cascade."""

from consort.core.registry import Registry

after: Registry[type] = Registry("after", "consort.ensemble.after", decorator="strategy", produces="model")
strategy = after.registrar()

__all__ = ["after", "strategy"]
