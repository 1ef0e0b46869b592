"""TSV-M (Gargiulo et al. 2024, arXiv 2412.00081): the first singular directions of each task, made orthogonal.

The polar factors are truncated: the released code's U V^T of a thin decomposition gives copies of one task arbitrary
directions of full weight. Directions that a delta of low rank does not have are not taken.
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
    paper="2412.00081",
    on="deltas",
    grain="tensor",
    symmetric=True,
    inputs=(1, None),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "nearly dependent directions magnify the rounding of the inputs"},
)
def tsv_m(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    weight: PerModel[float] = 1.0,
    rank: Annotated[int, Range(1, inf)] | None = None,
    share: Annotated[float, Range(0, 1)] | None = None,
    energy: Annotated[float, Range(0, 1)] | None = None,
    lambda_: float = 1.0,
    vector: Literal["mean", "sum", "zero"] = "mean",
    embedding: Literal["mean", "spectral"] = "mean",
) -> Float[Tensor, "*shape"]:
    """λ polar([U_1..U_N]) diag(w_1 S_1, .., w_N S_N) polar([V_1..V_N])^T of each linear map.

    Directions of a model: `rank`, or a `share` of the smaller side (1: all), or those with the share `energy` of the
    squares; without any, the smaller side divided by N. `vector`, `embedding`: how what is no linear map is merged.
    """

    def merged(stack: Float[Tensor, "model out in"]) -> Float[Tensor, "out in"]:
        found = directions(stack, rank=rank, share=share, energy=energy)
        s = torch.cat([w * one.s for w, one in zip(weights_of_changed(stack, weight), found, strict=True)])
        u = polar(torch.cat([one.u for one in found], 1))
        v = polar(torch.cat([one.vt for one in found]).mT)
        return (u * s) @ v.mT

    return by_matrix(deltas, matrices, merged, weight=weight, vector=vector, embedding=embedding, lambda_=lambda_)
