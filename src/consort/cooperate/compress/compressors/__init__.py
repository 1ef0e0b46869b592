"""What shortens a text: a compressor is one file here, with its own parameters.

Importing this package does not import torch.
"""

from __future__ import annotations

from consort.core.registry import Registry

COMPRESSORS: Registry[type] = Registry(
    "compressor", "consort.cooperate.compress.compressors", decorator="compressor", produces="compressor"
)
compressor = COMPRESSORS.registrar()

__all__ = ["COMPRESSORS", "compressor"]
