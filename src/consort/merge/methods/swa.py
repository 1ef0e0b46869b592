"""Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407): the mean of the last checkpoints."""

from __future__ import annotations

from math import inf
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from consort.core.params import Range
from consort.merge.arithmetic.votes import per_model, task_vector
from consort.merge.method import method


@method(paper="1803.05407", on="weights", symmetric=False, inputs=(1, None), base="ignored")
def swa(
    weights: Float[Tensor, "model *shape"], *, last: Annotated[int, Range(1, inf)] | None = None
) -> Float[Tensor, "*shape"]:
    """The mean of the last checkpoints, in the order of training.

    `last`: how many; all of them where it is not given or there are fewer.
    """
    kept = weights[-(last or len(weights)) :]
    return task_vector(kept, per_model(1.0, len(kept)), normalize=True, lambda_=1.0)
