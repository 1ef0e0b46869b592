"""Model Stock (Jang et al. 2024, arXiv 2403.19522): the models' mean, drawn to the base by their angles."""

from __future__ import annotations

import logging

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.merge.arithmetic.reductions import gram, row_gram
from consort.merge.arithmetic.votes import total
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method

SMALLEST_DENOMINATOR = 1e-6
logger = logging.getLogger(__name__)


def interpolation(products: Float[np.ndarray, "model model *rows"]) -> Float[np.ndarray, "*rows"]:
    """t = N c / (1 + (N - 1) c), c the mean cosine of the pairs; eq. 4 of the paper for N models."""
    n = len(products)
    norms = np.sqrt(np.einsum("ii...->i...", products))
    lengths = norms[:, None] * norms[None]
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    pairs = [cosines[i, j] for i in range(n) for j in range(i + 1, n)]
    c = sum(pairs) / len(pairs)
    denominator = 1 + (n - 1) * c
    usable = denominator >= SMALLEST_DENOMINATOR
    return np.where(usable, n * c / np.where(usable, denominator, 1.0), 0.0)


def whole_interpolation(blocks: Blocks, *, filter_wise: bool, clamp: bool) -> Float[np.ndarray, ""] | None:
    """The one t of a tensor, None where every row has its own."""
    if filter_wise:
        return None
    t = interpolation(gram(blocks))
    if clamp and not 0 <= t <= 1:
        logger.warning("model_stock: the models disagree (t = %.3g); clamped to [0, 1]", t)
    return t


@method(
    paper="2403.19522",
    on="deltas",
    grain="row",
    statistic=whole_interpolation,
    symmetric=True,
    inputs=(2, None),
    base="required",
)
def model_stock(
    deltas: Float[Tensor, "model *rows row"],
    stat: Float[np.ndarray, ""] | None,
    *,
    filter_wise: bool = False,
    clamp: bool = True,
) -> Float[Tensor, "*rows row"]:
    """Between the base and the models' mean, nearer to the base the more the models' changes differ in direction.

    `filter_wise`: an own ratio for each row; `clamp`: keep the ratio in [0, 1].
    """
    t = interpolation(row_gram(deltas))[..., None] if stat is None else stat
    t = np.clip(t, 0, 1) if clamp else t
    return total(deltas) / len(deltas) * torch.from_numpy(np.asarray(t)).to(deltas.dtype)
