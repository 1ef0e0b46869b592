"""Strategies that choose a model before it is asked: routers."""

from consort.core.registry import Registry

before: Registry[type] = Registry(
    "router", "consort.ensemble.before", decorator="strategy", produces="model", formerly="before"
)
strategy = before.registrar()

__all__ = ["before", "strategy"]
