"""Strategies that steer one model by others while it decodes: logit arithmetic, verifiers, look-ahead."""

from consort.core.registry import Registry

transfer: Registry[type] = Registry("transfer", "consort.cooperate.transfer", decorator="strategy", produces="model")
strategy = transfer.registrar()

__all__ = ["strategy", "transfer"]
