"""TIES (Yadav et al. 2023, arXiv 2306.01708): trim small changes, elect a sign for each entry, merge what agrees.

Entries of the same magnitude as the smallest one kept are kept too. The sign is elected by weighted sum; the paper's
unweighted one is `elect: unweighted`, and its one threshold for a whole model is `scope: model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.forms import Vote
from consort.merge.arithmetic.reductions import l1_factors, trimming_thresholds
from consort.merge.arithmetic.votes import at_least, per_model, refuse_mixed_signs
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method


class Trimming(NamedTuple):
    """For each model the least magnitude kept, and the factor of what is kept."""

    threshold: Float[np.ndarray, "model"]
    factor: Float[np.ndarray, "model"]


def trimming(blocks: Blocks, *, density: Sequence[float], rescale: str, scope: str) -> Trimming:
    """The thresholds of a tensor, or of all tensors together."""

    def thresholds(part: Blocks) -> Float[np.ndarray, "model"]:
        return trimming_thresholds(part, density)

    found = Trimming(blocks.of_model(thresholds) if scope == "model" else thresholds(blocks), np.ones(blocks.models))
    if rescale == "l1":
        found = found._replace(factor=l1_factors(blocks, lambda block: at_least(block.stack, found.threshold)))
    return found


def vote(
    models: int,
    stat: Trimming,
    *,
    weight: PerModel[float],
    rescale: str,
    elect: str,
    normalize: bool,
    lambda_: float,
) -> Vote:
    """The vote as a value."""
    factor = stat.factor if rescale == "l1" else None
    return Vote(per_model(weight, models), stat.threshold, elect, normalize, lambda_, factor)


@method(
    paper="2306.01708",
    on="deltas",
    statistic=trimming,
    form=vote,
    check=refuse_mixed_signs,
    symmetric=True,
    inputs=(1, None),
    base="required",
)
def ties(
    deltas: Float[Tensor, "model *shape"],
    stat: Trimming,
    *,
    weight: PerModel[float] = 1.0,
    density: PerModel[Annotated[float, Range(0, 1)]] = 0.2,
    normalize: bool = True,
    lambda_: float = 1.0,
    rescale: Literal["none", "l1"] = "none",
    elect: Literal["weighted", "unweighted", "count"] = "weighted",
    scope: Literal["tensor", "model"] = "tensor",
) -> Float[Tensor, "*shape"]:
    """Trims each model's small changes and merges those that have the sign most of them have.

    `density`: share of entries kept; `rescale: l1` restores their summed magnitude; `scope`: rank entries within a
    tensor or within the whole model; `normalize`: divide each entry by the summed weight of the models that agree.
    """
    form = vote(len(deltas), stat, weight=weight, rescale=rescale, elect=elect, normalize=normalize, lambda_=lambda_)
    return form(deltas)
