"""Model Breadcrumbs (Davari and Belilovsky 2023, arXiv 2312.06795): the largest and the smallest changes left out."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.reductions import order_statistics
from consort.merge.arithmetic.votes import (
    above,
    at_least,
    per_model,
    refuse_cancelling,
    refuse_mixed_signs,
    task_vector,
    voted,
)
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method


def bounds(blocks: Blocks, *, density: Sequence[float], gamma: Sequence[float]) -> Float[np.ndarray, "model 2"]:
    """For each model the least and the greatest magnitude kept."""
    n = prod(blocks.shape)
    ranks = []
    for d, g in zip(density, gamma, strict=True):
        k, top = int(d * n), int(g * n)
        low = max(0, n - k - top)
        ranks.append([low, low + k - 1] if k else [])
    found = order_statistics(blocks, lambda block: block.stack, ranks)
    return np.stack([pair if len(pair) else np.array([np.inf, np.inf]) for pair in found])


def banded(
    deltas: Float[Tensor, "model *shape"], bounds: Float[np.ndarray, "model 2"]
) -> Float[Tensor, "model *shape"]:
    """The changes whose size lies between its model's bounds; 0 in the place of all others."""
    low, high = bounds.T
    return at_least(deltas, low) - above(deltas, high)


@method(
    paper="2312.06795",
    on="deltas",
    statistic=bounds,
    check=refuse_cancelling,
    symmetric=True,
    inputs=(1, None),
    base="required",
)
def breadcrumbs(
    deltas: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model 2"],
    *,
    weight: PerModel[float] = 1.0,
    density: PerModel[Annotated[float, Range(0, 1)]] = 0.9,
    gamma: PerModel[Annotated[float, Range(0, 1)]] = 0.01,
    normalize: bool = False,
    lambda_: float = 1.0,
) -> Float[Tensor, "*shape"]:
    """The weighted sum of changes without the largest and the smallest of each model.

    `gamma`: share of the largest entries left out; `density`: share kept below them.
    """
    kept = banded(deltas, stat)
    return task_vector(kept, per_model(weight, len(deltas)), normalize=normalize, lambda_=lambda_)


@method(
    paper="2312.06795",
    on="deltas",
    statistic=bounds,
    check=refuse_mixed_signs,
    symmetric=True,
    inputs=(1, None),
    base="required",
)
def breadcrumbs_ties(
    deltas: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model 2"],
    *,
    weight: PerModel[float] = 1.0,
    density: PerModel[Annotated[float, Range(0, 1)]] = 0.9,
    gamma: PerModel[Annotated[float, Range(0, 1)]] = 0.01,
    normalize: bool = False,
    lambda_: float = 1.0,
    elect: Literal["weighted", "unweighted", "count"] = "weighted",
) -> Float[Tensor, "*shape"]:
    """Changes without the largest and the smallest of each model, merged where they have the elected sign.

    `gamma`: share of the largest entries left out; `density`: share kept below them.
    """
    kept = banded(deltas, stat)
    return voted(kept, per_model(weight, len(deltas)), elect=elect, normalize=normalize, lambda_=lambda_)
