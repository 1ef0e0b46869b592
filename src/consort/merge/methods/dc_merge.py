"""DC-Merge (arXiv 2603.06242): tasks of balanced singular values, added up in the space that their directions span.

Three algorithms go by this name; this is the one whose singular values are smoothed towards their mean before the
tasks are projected on the joint directions, where only what each block of directions says of itself is kept (`mask`).
"""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix, directions, weights_of_changed
from consort.merge.spectral.polar import polar
from consort.weights.matrices import Matrices


@method(
    paper="2603.06242",
    on="deltas",
    grain="tensor",
    symmetric=True,
    inputs=(1, None),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "nearly dependent directions magnify the rounding of the inputs"},
)
def dc_merge(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    weight: PerModel[float] = 1.0,
    rank: Annotated[int, Range(1, inf)] | None = None,
    smooth: Annotated[float, Range(0, 1)] = 1.0,
    mask: bool = True,
    lambda_: float = 1.0,
    vector: Literal["mean", "sum", "zero"] = "mean",
    embedding: Literal["mean", "spectral"] = "mean",
) -> Float[Tensor, "*shape"]:
    """λ U (Σ w_i U^T D_i V) V^T, U and V the polar factors of all first directions, D_i cut to its own.

    `smooth`: from 0 (singular values as they are) to 1 (their mean); `rank`: directions of each model, without it the
    smaller side divided by N; `mask`: keep the diagonal blocks of the core, one for each model.
    """

    def merged(stack: Float[Tensor, "model out in"]) -> Float[Tensor, "out in"]:
        found = directions(stack, rank=rank)
        u = polar(torch.cat([one.u for one in found], 1))
        v = polar(torch.cat([one.vt for one in found]).mT)
        core = u.new_zeros(u.shape[1], v.shape[1])
        for w, one in zip(weights_of_changed(stack, weight), found, strict=True):
            s = (1 - smooth) * one.s + smooth * one.s.mean()
            core += w * ((u.mT @ one.u) * s) @ (one.vt @ v)
        if mask:
            owner = torch.cat([torch.full((len(one.s),), i) for i, one in enumerate(found)])
            core *= owner[:, None] == owner
        return u @ core @ v.mT

    return by_matrix(deltas, matrices, merged, weight=weight, vector=vector, embedding=embedding, lambda_=lambda_)
