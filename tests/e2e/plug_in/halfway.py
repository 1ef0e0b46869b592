"""A merge method: the mean of the models, scaled."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from consort.core.params import Range
from consort.merge.method import method


@method(symmetric=True, example={"scale": 1.0})
def halfway(
    weights: Float[Tensor, "model *shape"], *, scale: Annotated[float, Range(0, 2)] = 1.0
) -> Float[Tensor, "*shape"]:
    """`scale` times the mean of the models."""
    return scale * weights.mean(0)
