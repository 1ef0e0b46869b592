"""Mixtures of experts made of models that exist: one network with routed parts, or whole models behind one router.

Two kinds of names: `mixture` decides at run time and is a model; `moe` writes a sparse network and is a checkpoint.
"""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

mixture: Registry[Any] = Registry("mixture", "consort.mixture", decorator="strategy", produces="model")
moe: Registry[Any] = Registry("moe", "consort.mixture", decorator="sparse", produces="checkpoint")

strategy = mixture.registrar()
"""The decorator that makes a class of this package a mixture at run time: `@strategy(paper="…")`."""
sparse = moe.registrar()
"""The decorator that makes a class of this package a checkpoint with experts: `@sparse(paper="…")`."""
