"""Arcee Fusion: entries of a model that matter much replace the base's, all others stay.

An entry matters by its change times the divergence of its row; much is beyond the upper fence of a box plot.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.merge.arithmetic.reductions import order_statistics
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method

SMOOTHING = 1e-8
QUARTILES = (0.25, 0.5, 0.75)


def _softmax(rows: Float[np.ndarray, "*rows row"]) -> Float[np.ndarray, "*rows row"]:
    powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
    shares: Float[np.ndarray, "*rows row"] = powers / powers.sum(axis=-1, keepdims=True)
    return shares + SMOOTHING


def importance(weights: Float[Tensor, "2 *rows row"]) -> Float[Tensor, "*rows row"]:
    """|X - B| times the row's Σ p ln(p/q), p and q the softmax of X and B. In numpy: see `merge.statistics`."""
    q, p = (_softmax(tensor.double().numpy()) for tensor in weights)
    divergence = np.maximum(0.0, (p * np.log(p / q)).sum(axis=-1, keepdims=True))
    return (weights[1] - weights[0]).abs() * torch.from_numpy(divergence).to(weights.dtype)


def fence(blocks: Blocks) -> float:
    """Median + 1.5 (Q3 - Q1) of the importance; quantile q is the entry of rank floor(q (n - 1))."""
    n = prod(blocks.shape)
    ranks = [int(q * (n - 1)) for q in QUARTILES]
    low, middle, high = order_statistics(blocks, lambda block: importance(block.stack)[None], [ranks])[0].tolist()
    return float(middle + 1.5 * (high - low))


@method(
    on="weights",
    grain="row",
    statistic=fence,
    symmetric=False,
    inputs=(1, 1),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "what matters is decided by softmaxes of weights"},
)
def arcee_fusion(weights: Float[Tensor, "2 *rows row"], stat: float) -> Float[Tensor, "*rows row"]:
    """The model's entries where its change matters much, elsewhere the base's."""
    return torch.where(importance(weights) >= stat, weights[1], weights[0])
