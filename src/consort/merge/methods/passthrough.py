"""One model as it is, or scaled."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel
from consort.merge.arithmetic.votes import per_model, weighted_total
from consort.merge.method import method


@method(on="weights", symmetric=False, inputs=(1, 1), base="ignored")
def passthrough(weights: Float[Tensor, "model *shape"], *, scale: PerModel[float] = 1.0) -> Float[Tensor, "*shape"]:
    """One model, every weight multiplied by `scale`."""
    return weighted_total(weights, per_model(scale, 1))
