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
from consort.merge.arithmetic.votes import total
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix, weighted
from consort.weights.decomposition import decompose
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
    """No matrix of inputs by inputs is formed: the system is a diagonal and a few rows."""
    far = far_apart(deltas.square().sum((1, 2)), released)
    centred = deltas - deltas.mean(1, keepdim=True)
    traces = centred.square().sum((1, 2)).clamp(min=1e-300)
    over = traces if far else torch.ones_like(traces)
    ridges = ridge / over if released else ridge * traces / over / deltas.shape[2]
    scaled = centred / over.sqrt()[:, None, None]
    rows = torch.cat(list(scaled))
    rows = torch.linalg.qr(rows).R if rows.shape[0] > rows.shape[1] else rows
    prior = rows.sum(1) @ rows / rows.shape[1] / (traces.mean() if far and released else 1.0)
    right = total(torch.stack([_times_gram(d, d) / o + r * d for d, o, r in zip(centred, over, ridges, strict=True)]))
    found = _solved(right, ridges.sum() + (0 if released else prior.abs()), rows, prior if released else None)
    if not far or not refined:
        return found
    own = total(torch.stack([_times_gram(d, s) for d, s in zip(deltas, scaled, strict=True)]))
    shared = total(deltas)
    residual = own - (shared @ rows.mT @ rows + ridges.sum() * shared) / len(deltas)
    top = decompose((found + residual).float(), max(1, int(refined * min(found.shape))))
    return found + float(top.s.mean()) * (top.u @ top.vt)


def _times_gram(left: Float[Tensor, "out in"], rows: Float[Tensor, "row in"]) -> Float[Tensor, "out in"]:
    """left rows^T rows."""
    return (left @ rows.mT) @ rows if len(rows) < rows.shape[1] else left @ (rows.mT @ rows)


def _solved(
    right: Float[Tensor, "out in"],
    diagonal: Float[Tensor, "..."],
    rows: Float[Tensor, "row in"],
    prior: Float[Tensor, "in"] | None,
) -> Float[Tensor, "out in"]:
    """right (diag + rows^T rows + 1 prior^T)^-1, by the identity of Woodbury."""
    left, beside = rows, rows
    if prior is not None:
        left, beside = torch.cat((rows, torch.ones_like(rows[:1]))), torch.cat((rows, prior[None]))
    over = right / diagonal
    inner = (beside / diagonal) @ left.mT + torch.eye(len(left), dtype=right.dtype)
    solved: Tensor = torch.linalg.solve(inner.mT, (over @ left.mT).mT).mT
    return over - solved @ (beside / diagonal)


def far_apart(traces: Float[Tensor, "model"], released: bool) -> bool:
    logs = traces.log()
    spread = float(logs.var()) if len(logs) > 1 else 0.0
    return spread > GATE * float(logs.mean().square()) if released else spread > GATE
