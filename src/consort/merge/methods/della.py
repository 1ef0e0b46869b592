"""DELLA (Deep et al. 2024, arXiv 2406.11617): larger changes of a row are dropped less likely, then signs elected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.dropping import by_rank, by_rank_l1, dropped, refuse_band
from consort.merge.arithmetic.votes import per_model, refuse_mixed_signs, voted
from consort.merge.method import method


def refuse(*, weight: Sequence[float], normalize: bool, density: Sequence[float], epsilon: Sequence[float]) -> None:
    refuse_band(density, epsilon)
    refuse_mixed_signs(weight, normalize)


@method(
    paper="2406.11617",
    on="deltas",
    grain="row",
    statistic=by_rank_l1,
    check=refuse,
    symmetric=False,
    inputs=(1, None),
    base="required",
)
def della(
    deltas: Float[Tensor, "model *rows row"],
    stat: Float[np.ndarray, "model"] | None,
    uniform: Float[Tensor, "model *rows row"],
    *,
    weight: PerModel[float] = 1.0,
    density: PerModel[Annotated[float, Range(0, 1)]] = 0.5,
    epsilon: PerModel[Annotated[float, Range(0, 0.5)]] = 0.15,
    normalize: bool = True,
    lambda_: float = 1.0,
    rescale: Literal["none", "l1", "prob"] = "prob",
    elect: Literal["weighted", "unweighted", "count"] = "weighted",
) -> Float[Tensor, "*rows row"]:
    """Changes kept at random, larger ones of a row more likely, merged where they have the elected sign.

    An entry is kept with a probability between `density - epsilon` and `density + epsilon`.
    """
    kept = dropped(deltas, uniform, by_rank(density, epsilon, deltas), rescale, stat)
    return voted(kept, per_model(weight, len(deltas)), elect=elect, normalize=normalize, lambda_=lambda_)
