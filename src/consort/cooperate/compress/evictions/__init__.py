"""Which positions of a cache are kept: an eviction is one file here.

Importing this package does not import torch.
"""

from __future__ import annotations

from consort.core.registry import Registry

EVICTIONS: Registry[type] = Registry(
    "eviction", "consort.cooperate.compress.evictions", decorator="eviction", produces="eviction"
)
eviction = EVICTIONS.registrar()

__all__ = ["EVICTIONS", "eviction"]
