"""Speculative decoding: a cheap draft guesses ahead, the target checks a whole guess in one pass; nothing is lost.

Importing this package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from consort.core.packages import lazy_names
from consort.core.registry import Registry

speculate: Registry[type] = Registry("speculate", "consort.cooperate.speculate", decorator="strategy", produces="model")
strategy = speculate.registrar()

_HOMES = {
    "Controller": "rounds.controller",
    "Costs": "rounds.costs",
    "Draft": "drafters.draft",
    "DraftSession": "drafters.base",
    "Drafter": "drafters.base",
    "Pipeline": "rounds.pipeline",
    "Speculate": "speculation",
    "Target": "drafters.base",
    "Verdict": "rounds.verify",
    "custom_generate": "hook",
}

_NAMES, __getattr__ = lazy_names(__name__, _HOMES)

__all__ = sorted([*_NAMES, "speculate", "strategy"])
