"""ACE-Merging (Xu et al. 2026, arXiv 2603.02945): least squares with covariances estimated from centred deltas.

`released` computes what the authors' programme does, whose result depends on the unit of the weights (its gate divides
by the mean logarithm of the traces, its ridge is absolute) and whose prior makes the normal matrix asymmetric.
`scale_free` takes the variance of the logarithms alone, a ridge relative to the trace, and the prior on the diagonal.
"""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix, weighted
from consort.merge.spectral.decomposition import decompose
from consort.weights.matrices import Matrices

GATE = 0.3
"""Spread of the traces above which they are divided out."""


@method(paper="2603.02945", on="deltas", grain="tensor", symmetric=True, inputs=(2, None), base="required")
def ace(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    weight: PerModel[float] = 1.0,
    variant: Literal["scale_free", "released"] = "scale_free",
    ridge: Annotated[float, Range(1e-9, inf)] = 0.01,
    refined: Annotated[float, Range(0, 1)] = 0.3,
    lambda_: float = 1.0,
    vector: Literal["mean", "sum", "zero"] = "mean",
    embedding: Literal["mean", "spectral"] = "mean",
) -> Float[Tensor, "*shape"]:
    """λ (Σ W_i (Σ_i + ε_i I)) (Σ (Σ_i + ε_i I) + prior)^-1, W_i the delta less its mean row, Σ_i = W_i^T W_i.

    `ridge`: ε; `refined`: where the traces are far apart, the share of directions of the residual that is added with
    equal singular values.
    """

    def merged(stack: Float[Tensor, "model out in"]) -> Float[Tensor, "out in"]:
        scaled = weighted(stack, weight)
        return _merged(scaled[scaled.flatten(1).any(1)], variant == "released", ridge, refined)

    return by_matrix(deltas, matrices, merged, weight=weight, vector=vector, embedding=embedding, lambda_=lambda_)


def _merged(
    deltas: Float[Tensor, "model out in"], released: bool, ridge: float, refined: float
) -> Float[Tensor, "out in"]:
    side = deltas.shape[-1]
    eye = torch.eye(side, dtype=deltas.dtype)
    far = _far_apart(deltas.square().sum((1, 2)), released)
    centred = deltas - deltas.mean(1, keepdim=True)
    covariance = centred.mT @ centred
    traces = covariance.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-300)
    over = traces if far else torch.ones_like(traces)
    sigma = covariance / over[:, None, None]
    relative = (ridge / over) if released else ridge * sigma.diagonal(dim1=1, dim2=2).mean(1)
    regular = sigma + relative[:, None, None] * eye
    normal = regular.sum(0)
    prior = sigma.sum(0).mean(0) / (traces.mean() if far and released else 1.0)
    system = normal + (prior.expand(side, side) if released else torch.diag(prior.abs()))
    found = torch.linalg.solve(system.mT, (centred @ regular).sum(0).mT).mT
    if not far or not refined:
        return found
    residual = (deltas @ (sigma - normal / len(deltas))).sum(0)
    top = decompose((found + residual).float(), max(1, int(refined * min(found.shape))))
    return found + float(top.s.mean()) * (top.u @ top.vt)


def _far_apart(traces: Float[Tensor, "model"], released: bool) -> bool:
    logs = traces.log()
    spread = float(logs.var()) if len(logs) > 1 else 0.0
    return spread > GATE * float(logs.mean().square()) if released else spread > GATE
