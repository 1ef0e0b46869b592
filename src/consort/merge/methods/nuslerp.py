"""Spherical interpolation of two models, or of their differences from a base: slerp with weights.

Where `nuslerp_flatten` is off, every vector of the last dimension is interpolated by itself, with `nuslerp_row_wise`
every vector along the first.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import Incompatible
from consort.core.params import PerModel
from consort.merge.arithmetic.reductions import gram, row_gram
from consort.merge.arithmetic.votes import per_model, weighted_total
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method

ZERO_NORM = 1e-8
PARALLEL = 1e-12
SMALLEST_SUM = 1e-6


def arc(products: Float[np.ndarray, "2 2 *vectors"], t: float) -> Float[np.ndarray, "2 *vectors"]:
    """The factors of both ends of each arc; of their chord where 1 - cos² shows no angle."""
    a, b = (np.where(n > ZERO_NORM, n, 1.0) for n in (np.sqrt(products[0, 0]), np.sqrt(products[1, 1])))
    cosine = np.clip(products[0, 1] / (a * b), -1, 1)
    chord = 1 - cosine**2 <= PARALLEL
    theta = np.arccos(np.where(chord, 0.0, cosine))
    sine = np.where(chord, 1.0, np.sin(theta))
    return np.stack(
        (np.where(chord, 1 - t, np.sin((1 - t) * theta) / sine), np.where(chord, t, np.sin(t * theta) / sine))
    )


def products(
    blocks: Blocks, *, nuslerp_flatten: bool, nuslerp_row_wise: bool
) -> Float[np.ndarray, "2 2 *vectors"] | None:
    """Inner products of the whole tensors or of their columns; those of rows need no pass of their own."""
    if nuslerp_flatten or (nuslerp_row_wise and len(blocks.shape) < 2):
        return gram(blocks)
    if not nuslerp_row_wise:
        return None
    if len(blocks.shape) > 2:
        message = f"vectors along the first of {len(blocks.shape)} dimensions are not supported"
        raise Incompatible(message, hint="nuslerp_row_wise: false")
    return sum((row_gram(block.stack.transpose(1, 2).contiguous()) for block in blocks), np.float64(0))  # type: ignore[return-value]


@method(
    paper="10.1145/325334.325242",
    on="deltas",
    grain="row",
    statistic=products,
    symmetric=True,
    inputs=(2, 2),
    base="optional",
)
def nuslerp(
    deltas: Float[Tensor, "2 *shape"],
    stat: Float[np.ndarray, "2 2 *vectors"] | None,
    *,
    weight: PerModel[float] = 1.0,
    nuslerp_flatten: bool = True,
    nuslerp_row_wise: bool = False,
) -> Float[Tensor, "*shape"]:
    """Between two models along the arc, at w_2 / (w_1 + w_2); with a base, between their differences from it.

    `nuslerp_flatten`: take each tensor as one vector; else its rows, or its columns with `nuslerp_row_wise`.
    """
    first, second = per_model(weight, 2).tolist()
    t = second / (first + second) if abs(first + second) >= SMALLEST_SUM else 0.5
    if stat is None:
        return weighted_total(deltas, torch.from_numpy(arc(row_gram(deltas), t)).unsqueeze(-1))
    return weighted_total(deltas, torch.from_numpy(arc(stat, t)))
