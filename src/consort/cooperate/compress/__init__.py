"""Input compression: prompts made shorter, by a small model's help, before a large one reads them.

Compressors are a kind of their own (`compressors/`); a model that reads through one is `compressed`. Importing this
package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from consort.core.packages import lazy_names
from consort.core.registry import Registry

compress: Registry[type] = Registry("compress", "consort.cooperate.compress", decorator="strategy", produces="model")
strategy = compress.registrar()

_HOMES = {
    "Budget": "parts",
    "Compressed": "compressed",
    "Compression": "parts",
    "Compressor": "compressor",
    "Part": "parts",
    "Span": "parts",
    "parts_of": "roles",
}

_NAMES, __getattr__ = lazy_names(__name__, _HOMES)

__all__ = sorted([*_NAMES, "compress", "strategy"])
