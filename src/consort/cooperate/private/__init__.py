"""A cloud model asked without what is private: found, replaced, checked on the way out, put back on the way in."""

from __future__ import annotations

from consort.core.registry import Registry

private: Registry[type] = Registry("private", "consort.cooperate.private", decorator="strategy", produces="model")
strategy = private.registrar()
