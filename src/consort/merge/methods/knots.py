"""KnOTS (Stoica et al. 2024, arXiv 2410.19735): models brought to one basis of outputs, merged there entry by entry.

Singular values stay with the right vectors, as in the official programme, and are cut relative to the largest.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.votes import per_model, refuse_mixed_signs, task_vector, voted
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix
from consort.weights.decomposition import decompose
from consort.weights.matrices import Matrices


@method(
    paper="2410.19735",
    on="deltas",
    grain="tensor",
    check=refuse_mixed_signs,
    symmetric=False,
    inputs=(1, None),
    base="required",
)
def knots(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    weight: PerModel[float] = 1.0,
    combine: Literal["ties", "sum", "largest"] = "ties",
    density: Annotated[float, Range(0, 1)] = 0.2,
    normalize: bool = True,
    lambda_: float = 1.0,
    vector: Literal["mean", "sum", "zero"] = "mean",
    embedding: Literal["mean", "spectral"] = "mean",
) -> Float[Tensor, "*shape"]:
    """λ U g(S V_1, .., S V_N) of each linear map, U S [V_1 .. V_N] = [D_1 .. D_N].

    `combine`: g is `ties` (the share `density` of largest entries of each model, voted; `normalize` as in `ties`), the
    weighted `sum`, which is task arithmetic, or the `largest` entry of any model.
    """

    def merged(stack: Float[Tensor, "model out in"]) -> Float[Tensor, "out in"]:
        joint = decompose(torch.cat(list(stack), 1).float())
        own = torch.stack((joint.s[:, None] * joint.vt).chunk(len(stack), 1))
        return joint.u @ combined(own, per_model(weight, len(own)), combine, density, normalize)

    return by_matrix(deltas, matrices, merged, weight=weight, vector=vector, embedding=embedding, lambda_=lambda_)


def combined(
    own: Float[Tensor, "model rank in"],
    weight: Float[Tensor, "model"],
    combine: str,
    density: float,
    normalize: bool,
) -> Float[Tensor, "rank in"]:
    """The entry-wise merge g of what each model is in the joint basis."""
    if combine == "sum":
        return task_vector(own, weight, normalize=False, lambda_=1.0)
    if combine == "largest":
        scaled = own * weight.to(own.dtype)[:, None, None]
        return scaled.gather(0, scaled.abs().argmax(0, keepdim=True))[0]
    kept = torch.stack([_largest(part, density) for part in own])
    return voted(kept, weight, elect="weighted", normalize=normalize, lambda_=1.0)


def _largest(part: Float[Tensor, "rank in"], density: float) -> Float[Tensor, "rank in"]:
    """The share `density` of the entries that are largest, ties with the smallest of them too."""
    size = part.abs().flatten()
    count = round(density * len(size))
    if not count:
        return torch.zeros_like(part)
    least = size.kthvalue(len(size) - count + 1).values
    return torch.where(part.abs() >= least, part, 0)
