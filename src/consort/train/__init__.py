"""Training: one resumable loop, the losses it minimises, and low-rank adapters in peft's format.

Importing this package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {
    "Lora": "lora",
    "Recipe": "loop",
    "attach_lora": "lora",
    "distil": "losses",
    "distil_with_rest": "losses",
    "dpo": "losses",
    "entropy": "losses",
    "fit": "loop",
    "fit_steps": "loop",
    "pairwise": "losses",
    "read_adapter": "lora",
    "rest_surprisal": "losses",
    "save_adapter": "lora",
    "sft": "losses",
    "shuffled": "loop",
    "surprisal": "losses",
}

__all__, __getattr__ = lazy_names(__name__, _HOMES)
