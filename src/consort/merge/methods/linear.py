"""Weighted average of weights, a model soup (Wortsman et al. 2022, arXiv 2203.05482)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel
from consort.merge.arithmetic.forms import Total
from consort.merge.arithmetic.votes import per_model, refuse_cancelling
from consort.merge.method import method


def average(models: int, *, weight: PerModel[float], normalize: bool) -> Total:
    """The sum that a soup is."""
    return Total(per_model(weight, models), normalize)


@method(
    paper="2203.05482",
    on="weights",
    check=refuse_cancelling,
    symmetric=True,
    inputs=(1, None),
    base="ignored",
    form=average,
)
def linear(
    weights: Float[Tensor, "model *shape"], *, weight: PerModel[float] = 1.0, normalize: bool = True
) -> Float[Tensor, "*shape"]:
    """Weighted average of the models: Σ w_i X_i / Σ w_i.

    `normalize`: divide by the sum of the weights.
    """
    return average(len(weights), weight=weight, normalize=normalize)(weights)
