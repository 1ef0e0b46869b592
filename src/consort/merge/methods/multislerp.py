"""The weighted mean direction of several models, at their weighted mean length.

A tangent step taken at the mean direction itself is zero, so the mean is the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import Incompatible
from consort.core.params import PerModel, Range
from consort.merge.arithmetic.reductions import gram
from consort.merge.arithmetic.votes import per_model, refuse_cancelling, weighted_total
from consort.merge.method import method


def refuse(*, weight: Sequence[float], normalize_weights: bool) -> None:
    refuse_cancelling(weight, normalize_weights)


def coefficients(
    products: Float[np.ndarray, "model model"], weight: Float[np.ndarray, "model"], eps: float
) -> Float[np.ndarray, "model"]:
    """Factors of the tensors themselves. Raises Incompatible where more than two directions cancel out."""
    norms = np.sqrt(np.diag(products))
    direction = weight / (norms + eps)
    length = float(np.sqrt(np.maximum(0.0, direction @ products @ direction)))
    if length < eps:
        if len(weight) > 2 and np.any(norms > eps):
            raise Incompatible("the directions of the models cancel out", hint="leave one out, or use linear")
        return weight
    factors: Float[np.ndarray, "model"] = direction * (weight @ norms) / length
    return factors


@method(on="deltas", statistic=gram, check=refuse, symmetric=True, inputs=(1, None), base="optional")
def multislerp(
    deltas: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model model"],
    *,
    weight: PerModel[float] = 1.0,
    normalize_weights: bool = True,
    eps: Annotated[float, Range(0, 1)] = 1e-8,
) -> Float[Tensor, "*shape"]:
    """The weighted mean of the models' directions, with the weighted mean of their lengths; of differences with a base.

    `normalize_weights`: divide the weights by their sum; `eps`: lengths below count as zero.
    """
    if len(deltas) == 1:
        return deltas[0]
    w = per_model(weight, len(deltas)).numpy()
    w = w / w.sum() if normalize_weights else w
    return weighted_total(deltas, per_model(coefficients(stat, w, eps).tolist(), len(deltas)))
