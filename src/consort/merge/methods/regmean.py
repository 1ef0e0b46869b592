"""RegMean (Jin et al. 2022, arXiv 2212.09849): linear layers whose outputs are nearest to those of all models.

Gram matrices are means over tokens here, not sums, so a model does not count more because its texts were longer. The
ridge is given to every Gram matrix: inputs that never fire then have the mean of the weights, and equal models stay.
"""

from __future__ import annotations

from math import inf
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.params import PerModel, Range
from consort.merge.arithmetic.votes import per_model, refuse_cancelling, task_vector, total
from consort.merge.method import method

RIDGE = 1e-6
"""Of the mean diagonal."""


def refuse(*, weight: tuple[float, ...]) -> None:
    refuse_cancelling(weight, True)


def prepared(
    grams: Float[Tensor, "model input input"], weight: Float[Tensor, "model"], off_diagonal: float
) -> Float[Tensor, "model input input"]:
    """Weighted Gram matrices with smaller off-diagonals (section 3.3) and a share of the ridge on each diagonal."""
    diagonals = torch.diag_embed(grams.diagonal(dim1=1, dim2=2))
    scaled = (off_diagonal * grams + (1 - off_diagonal) * diagonals) * weight[:, None, None]
    ridge = RIDGE * total(scaled).diagonal().mean() / weight.sum()
    return scaled + ridge * weight[:, None, None] * torch.eye(grams.shape[-1], dtype=grams.dtype)


@method(
    paper="2212.09849",
    on="weights",
    grain="tensor",
    check=refuse,
    symmetric=True,
    inputs=(1, None),
    base="ignored",
    statistics="gram",
    exempt={"scaling_the_deltas_scales_the_result": "statistics were measured before, and do not scale along"},
)
def regmean(
    weights: Float[Tensor, "model *shape"],
    statistics: Float[Tensor, "model input input"] | None,
    *,
    weight: PerModel[Annotated[float, Range(0, inf)]] = 1.0,
    off_diagonal: Annotated[float, Range(0, 1)] = 0.9,
) -> Float[Tensor, "*shape"]:
    """Linear layers by least squares on their inputs, W^T = (Σ G_i)^-1 Σ G_i W_i^T (eq. 2); the mean of all else.

    `off_diagonal`: factor of the Gram matrices beside their diagonals, from 0 (each input by itself) to 1.
    """
    weights_of_models = per_model(weight, len(weights))
    mean = task_vector(weights, weights_of_models, normalize=True, lambda_=1.0)
    if statistics is None or not mean.numel():
        return mean
    grams = prepared(statistics.double(), weights_of_models, off_diagonal)
    whole = total(grams)
    if not whole.diagonal().any():
        return mean
    factor, failed = torch.linalg.cholesky_ex(whole)
    if failed:
        hint = "they must be finite and positive semi-definite: collect them anew"
        raise BadParameter("the Gram matrices have no Cholesky factor", field="statistics", hint=hint)
    apart = torch.zeros(mean.T.shape, dtype=torch.float64)
    for tensor, gram in zip(weights, grams, strict=True):
        apart += gram @ (tensor - mean).double().T
    return mean + torch.cholesky_solve(apart, factor).T.to(mean.dtype)
