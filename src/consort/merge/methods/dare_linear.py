"""DARE (Yu et al. 2023, arXiv 2311.03099) with task arithmetic: random changes, rescaled so that the mean is kept."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.dropping import constant, constant_l1, dropped
from consort.merge.arithmetic.votes import per_model, refuse_cancelling, task_vector
from consort.merge.method import method


@method(
    paper="2311.03099",
    on="deltas",
    statistic=constant_l1,
    check=refuse_cancelling,
    symmetric=False,
    inputs=(1, None),
    base="required",
)
def dare_linear(
    deltas: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model"] | None,
    uniform: Float[Tensor, "model *shape"],
    *,
    weight: PerModel[float] = 1.0,
    density: PerModel[Annotated[float, Range(0, 1)]] = 0.5,
    normalize: bool = False,
    lambda_: float = 1.0,
    rescale: Literal["none", "l1", "prob"] = "prob",
) -> Float[Tensor, "*shape"]:
    """The weighted sum of changes of which a random share is kept.

    `density`: probability that an entry is kept; `rescale`: divide by it ("prob"), or restore the summed magnitude
    of the tensor ("l1").
    """
    kept = dropped(deltas, uniform, constant(density, deltas), rescale, stat)
    return task_vector(kept, per_model(weight, len(deltas)), normalize=normalize, lambda_=lambda_)
