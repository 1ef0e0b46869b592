"""What guesses ahead: a drafter is one file here, with its own parameters.

Importing this package does not import torch.
"""

from __future__ import annotations

from consort.core.registry import Registry

DRAFTERS: Registry[type] = Registry(
    "drafter", "consort.cooperate.speculate.drafters", decorator="drafter", produces="drafter"
)
drafter = DRAFTERS.registrar()

__all__ = ["DRAFTERS", "drafter"]
