"""WUDI (Cheng et al. 2025, arXiv 2503.08099): the matrix that interferes least with each task, in closed form.

The paper descends to it with 300 steps of Adam at 1e-5, which moves no entry further than .003 and so depends on the
scale of the deltas; plain descent from their sum converges to the matrix computed here.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix, weighted
from consort.merge.spectral.covariance import by_covariances
from consort.weights.matrices import Matrices


@method(
    paper="2503.08099",
    on="deltas",
    grain="tensor",
    symmetric=True,
    inputs=(1, None),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "an inverse of a nearly singular matrix magnifies rounding"},
)
def wudi(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    weight: PerModel[float] = 1.0,
    lambda_: float = 1.0,
    vector: Literal["mean", "sum", "zero"] = "mean",
    embedding: Literal["mean", "spectral"] = "mean",
) -> Float[Tensor, "*shape"]:
    """λ argmin_X Σ ‖(X - D_i) D_i^T‖² / ‖D_i‖² of least norm, D_i := w_i D_i.

    X = (Σ D_i D_i^T D_i / ‖D_i‖²) (Σ D_i^T D_i / ‖D_i‖²)^+
    """

    def merged(stack: Float[Tensor, "model out in"]) -> Float[Tensor, "out in"]:
        scaled = weighted(stack, weight)
        changed = [d for d in scaled if bool(d.any())]
        return by_covariances(changed, [1 / float(d.square().sum()) for d in changed]) if changed else scaled.sum(0)

    return by_matrix(deltas, matrices, merged, weight=weight, vector=vector, embedding=embedding, lambda_=lambda_)
