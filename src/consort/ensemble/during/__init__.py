"""Strategies that combine next-token distributions."""

from consort.core.registry import Registry

during: Registry[type] = Registry("during", "consort.ensemble.during", decorator="strategy", produces="model")
strategy = during.registrar()

__all__ = ["during", "strategy"]
