"""Knowledge fusion (FuseLLM 2401.10491, FuseChat 2408.07990): models of any shape and tokenizer teach one student.

Teachers' next-token distributions are recorded (store), carried to the pivot's tokens (pairing), fused row by row
(targets) and learnt (training). Importing this package does not import torch; a name does so when first asked for.
"""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {"Training": "options", "train": "training"}

__all__, __getattr__ = lazy_names(__name__, _HOMES)
