"""Fisher-weighted averaging (Matena and Raffel 2021, arXiv 2111.09832): entries count by how sure their model is.

Every model has a floor, where the released code floors only the favoured one; where all lie at it, the weighted mean is
what remains. Each Fisher diagonal is first divided by its norm over the whole model, so that no model outvotes another
because its texts were harder.
"""

from __future__ import annotations

from math import inf
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.reductions import sums
from consort.merge.arithmetic.votes import along, per_model, weighted_total
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method


def scales(blocks: Blocks, *, normalise: bool) -> Float[np.ndarray, "model"]:
    """1 over each model's norm, 1 for a model whose diagonal is zero or that is not to be normalised."""
    if not normalise:
        return np.ones(blocks.models)
    squares = blocks.of_model(lambda whole: sums(whole, lambda block: block.measured.double().square()))
    norms: Float[np.ndarray, "model"] = np.sqrt(squares)
    return 1 / np.where(norms > 0, norms, 1.0)


@method(
    paper="2111.09832",
    on="weights",
    statistic=scales,
    symmetric=True,
    inputs=(1, None),
    base="ignored",
    statistics="fisher",
    exempt={"scaling_the_deltas_scales_the_result": "statistics were measured before, and do not scale along"},
)
def fisher(
    weights: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model"],
    statistics: Float[Tensor, "model *shape"],
    *,
    weight: PerModel[Annotated[float, Range(0, inf)]] = 1.0,
    normalise: bool = True,
    floor: Annotated[float, Range(0, inf)] = 1e-6,
) -> Float[Tensor, "*shape"]:
    """The average of the models, each entry weighted by its Fisher information: Σ c_i F_i θ_i / Σ c_i F_i (eq. 4).

    `normalise`: divide each model's diagonal by its norm; `floor`: the least it may be anywhere after that.
    """
    importance = statistics * along(torch.from_numpy(stat), statistics)
    importance = importance.clamp_(min=floor) * along(per_model(weight, len(weights)), weights)
    sizes = torch.ones(len(weights), dtype=torch.float64)
    total = weighted_total(importance, sizes)
    mean = weights[0]
    return mean + weighted_total(importance * (weights - mean), sizes) / torch.where(total > 0, total, 1.0)
