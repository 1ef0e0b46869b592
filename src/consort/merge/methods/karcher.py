"""The Riemannian (Karcher) mean of the models' directions on the sphere, at their weighted mean length.

Found by steps along the mean of the logarithms (Afsari et al. 2013, arXiv 1201.0925). All is done in the span of the
models, so only their inner products are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Annotated

import numpy as np
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.reductions import gram
from consort.merge.arithmetic.votes import per_model, refuse_cancelling, weighted_total
from consort.merge.method import method


def refuse(*, weight: Sequence[float]) -> None:
    refuse_cancelling(weight, True)


def mean_direction(
    cosines: Float[np.ndarray, "model model"], weight: Float[np.ndarray, "model"], max_iter: int, tol: float
) -> Float[np.ndarray, "model"]:
    """Factors of the unit vectors whose combination m is the mean: m <- cos‖T‖ m + sin‖T‖ T/‖T‖ until T is small."""

    def norm(factors: Float[np.ndarray, "model"]) -> float:
        return float(np.sqrt(np.maximum(0.0, factors @ cosines @ factors)))

    first = np.eye(len(weight))[0]
    m = weight / norm(weight) if norm(weight) >= tol else first
    for _ in range(max_iter):
        cosine = np.clip(cosines @ m, -1, 1)
        theta, sine = np.arccos(cosine), np.sqrt(1 - cosine**2)
        scale = weight * np.divide(theta, sine, out=np.ones_like(theta), where=sine > 0)
        step = scale - (scale @ cosine) * m  # Σ a_i (θ_i / sin θ_i) (u_i - cos θ_i m)
        size = norm(step)
        if size < tol:
            break
        m = np.cos(size) * m + np.sin(size) / size * step
        m /= norm(m)
    return m


@method(
    paper="1201.0925",
    on="weights",
    statistic=gram,
    check=refuse,
    symmetric=True,
    inputs=(1, None),
    base="ignored",
)
def karcher(
    weights: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model model"],
    *,
    weight: PerModel[float] = 1.0,
    max_iter: Annotated[int, Range(0, inf)] = 10,
    tol: Annotated[float, Range(0, inf)] = 1e-5,
) -> Float[Tensor, "*shape"]:
    """The mean of the models' directions along the sphere, with the weighted mean of their lengths.

    `max_iter`, `tol`: stop after so many steps, or when one is shorter. Tensors of zeros have no direction, but count
    in the length.
    """
    norms = np.sqrt(np.diag(stat))
    w = per_model(weight, len(weights)).numpy()
    w = w / w.sum()
    some = ~(norms == 0)
    factors = np.zeros(len(weights))
    if some.any() and w[some].sum() != 0:
        units = stat[np.ix_(some, some)] / np.outer(norms[some], norms[some])
        m = mean_direction(units, w[some] / w[some].sum(), max_iter, tol)
        factors[some] = m * (w @ norms) / norms[some]
    return weighted_total(weights, per_model(factors.tolist(), len(weights)))
