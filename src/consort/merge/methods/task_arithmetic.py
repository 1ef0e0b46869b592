"""Task arithmetic (Ilharco et al. 2022, arXiv 2212.04089): what models learned, added up."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel
from consort.merge.arithmetic.forms import Total
from consort.merge.arithmetic.votes import per_model, refuse_cancelling
from consort.merge.method import method


def arithmetic(models: int, *, weight: PerModel[float], normalize: bool, lambda_: float) -> Total:
    """The sum of task vectors."""
    return Total(per_model(weight, models), normalize, lambda_)


@method(
    paper="2212.04089",
    on="deltas",
    check=refuse_cancelling,
    symmetric=True,
    inputs=(1, None),
    base="required",
    form=arithmetic,
)
def task_arithmetic(
    deltas: Float[Tensor, "model *shape"],
    *,
    weight: PerModel[float] = 1.0,
    normalize: bool = False,
    lambda_: float = 1.0,
) -> Float[Tensor, "*shape"]:
    """The base plus the weighted sum of the models' differences from it: B + λ Σ w_i d_i.

    `normalize`: divide by the sum of the weights.
    """
    return arithmetic(len(deltas), weight=weight, normalize=normalize, lambda_=lambda_)(deltas)
