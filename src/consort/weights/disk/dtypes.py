"""The dtypes of safetensors files as torch knows them."""

from __future__ import annotations

import torch

from consort.weights.disk.codes import TORCH_NAMES

DTYPES: dict[str, torch.dtype] = {k: getattr(torch, name) for k, name in TORCH_NAMES.items() if hasattr(torch, name)}
CODES = {dtype: code for code, dtype in DTYPES.items()}
