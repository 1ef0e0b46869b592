"""Iso-C (Marczak et al. 2025, arXiv 2502.04959): the sum of what models learned, with equal singular values.

On the directions the sum has: the released code spreads the mean over arbitrary ones as well where its rank is lower.
"""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix, weighted
from consort.weights.decomposition import decompose, energy_rank
from consort.weights.matrices import Matrices


@method(paper="2502.04959", on="deltas", grain="tensor", symmetric=True, inputs=(1, None), base="required")
def iso_c(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    weight: PerModel[float] = 1.0,
    rank: Annotated[int, Range(1, inf)] | None = None,
    energy: Annotated[float, Range(0, 1)] | None = None,
    mean: Literal["support", "full"] = "support",
    lambda_: float = 1.0,
    vector: Literal["mean", "sum", "zero"] = "mean",
    embedding: Literal["mean", "spectral"] = "mean",
) -> Float[Tensor, "*shape"]:
    """λ s̄ U V^T of each linear map, U diag(s) V^T = Σ w_i D_i.

    s̄: the mean of the singular values there are (`support`), or their sum over the smaller side (`full`). `rank` and
    `energy` (a share of the squares) leave out the least directions first, such as the rounding of 16-bit weights.
    """

    def merged(stack: Float[Tensor, "model out in"]) -> Float[Tensor, "out in"]:
        found = decompose(weighted(stack, weight).sum(0).float(), rank)
        found = found if energy is None else found.first(energy_rank(found.s, energy))
        among = max(len(found.s), 1) if mean == "support" else min(stack.shape[1:])
        return float(found.s.sum() / among) * (found.u @ found.vt)

    return by_matrix(deltas, matrices, merged, weight=weight, vector=vector, embedding=embedding, lambda_=lambda_)
