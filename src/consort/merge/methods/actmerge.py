"""ACTMerge: RegMean with the covariance of the inputs estimated by the delta itself, D^T D (as in arXiv 2603.02945)."""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.votes import per_model, refuse_cancelling
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix
from consort.merge.spectral.covariance import by_covariances
from consort.weights.matrices import Matrices


def refuse(*, weight: tuple[float, ...]) -> None:
    refuse_cancelling(weight, True)


@method(
    paper="2603.02945",
    on="deltas",
    grain="tensor",
    check=refuse,
    symmetric=True,
    inputs=(1, None),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "an inverse of a nearly singular matrix magnifies rounding"},
)
def actmerge(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    weight: PerModel[Annotated[float, Range(0, inf)]] = 1.0,
    lambda_: float = 1.0,
    vector: Literal["mean", "sum", "zero"] = "mean",
    embedding: Literal["mean", "spectral"] = "mean",
) -> Float[Tensor, "*shape"]:
    """λ (Σ w_i D_i D_i^T D_i) (Σ w_i D_i^T D_i)^+ of each linear map; with w_i = 1 / ‖D_i‖² it is `wudi`."""

    def merged(stack: Float[Tensor, "model out in"]) -> Float[Tensor, "out in"]:
        return by_covariances(list(stack), per_model(weight, len(stack)).tolist())

    return by_matrix(deltas, matrices, merged, weight=weight, vector=vector, embedding=embedding, lambda_=lambda_)
