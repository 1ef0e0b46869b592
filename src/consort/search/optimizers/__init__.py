"""Optimizers: ask for points, tell their scores."""

from consort.core.registry import Registry

optimizers: Registry[type] = Registry(
    "optimizer", "consort.search.optimizers", decorator="optimizer", produces="optimizer"
)
optimizer = optimizers.registrar()

__all__ = ["optimizer", "optimizers"]
