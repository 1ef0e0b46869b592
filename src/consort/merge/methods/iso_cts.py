"""Iso-CTS (Marczak et al. 2025, arXiv 2502.04959): common directions and each task's, equally strong.

The number of each task's directions is rounded down and never negative; polar factors are truncated.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix, weighted
from consort.merge.spectral.polar import polar
from consort.weights.decomposition import decompose
from consort.weights.matrices import Matrices


@method(paper="2502.04959", on="deltas", grain="tensor", symmetric=True, inputs=(1, None), base="required")
def iso_cts(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    weight: PerModel[float] = 1.0,
    common: Annotated[float, Range(0, 1)] = 0.8,
    lambda_: float = 1.0,
    vector: Literal["mean", "sum", "zero"] = "mean",
    embedding: Literal["mean", "spectral"] = "mean",
) -> Float[Tensor, "*shape"]:
    """λ s̄ polar([U_1..U_N, U_c]) polar([V_1..V_N, V_c])^T of each linear map, s̄ the mean of all singular values kept.

    `common`: the share of directions taken from Σ w_i D_i; the rest are the first ones of each model's residual.
    """

    def merged(stack: Float[Tensor, "model out in"]) -> Float[Tensor, "out in"]:
        deltas_of = weighted(stack, weight)
        side = min(stack.shape[1:])
        each = (side - int(side * common)) // len(stack)
        top = decompose(deltas_of.sum(0).float(), max(side - each * len(stack), 0))
        rest = deltas_of - top.u @ (top.u.mT @ deltas_of)
        found = [decompose(r.float(), each) for r in rest if each and bool(r.any())] + [top]
        s = torch.cat([one.s for one in found])
        u = polar(torch.cat([one.u for one in found], 1))
        v = polar(torch.cat([one.vt for one in found]).mT)
        return float(s.mean()) * (u @ v.mT)

    return by_matrix(deltas, matrices, merged, weight=weight, vector=vector, embedding=embedding, lambda_=lambda_)
