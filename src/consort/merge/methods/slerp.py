"""Spherical interpolation (Shoemake 1985) between the base and one model, each tensor as one vector."""

from __future__ import annotations

from math import acos, sin, sqrt

import numpy as np
from jaxtyping import Float
from torch import Tensor

from consort.merge.arithmetic.reductions import gram
from consort.merge.arithmetic.votes import per_model, weighted_total
from consort.merge.method import method

ZERO_NORM = 1e-8
PARALLEL = 0.9995


def coefficients(products: Float[np.ndarray, "2 2"], t: float) -> tuple[float, float]:
    """The factors of both ends; their chord where they are nearly parallel or opposite."""
    a, b = (n if n > ZERO_NORM else 1.0 for n in (sqrt(products[0, 0]), sqrt(products[1, 1])))
    cosine = float(np.clip(products[0, 1] / (a * b), -1, 1))
    if abs(cosine) > PARALLEL:
        return 1 - t, t
    theta = acos(cosine)
    return sin((1 - t) * theta) / sin(theta), sin(t * theta) / sin(theta)


@method(paper="10.1145/325334.325242", on="weights", statistic=gram, symmetric=False, inputs=(1, 1), base="required")
def slerp(weights: Float[Tensor, "2 *shape"], stat: Float[np.ndarray, "2 2"], *, t: float) -> Float[Tensor, "*shape"]:
    """From the base (`t` 0) to the model (`t` 1) along the arc between them.

    [sin((1-t)θ) a + sin(tθ) b] / sin θ with θ the angle between the tensors, whose lengths are kept.
    """
    return weighted_total(weights, per_model(coefficients(stat, t), 2))
