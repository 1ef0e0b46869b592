"""LiNeS (Wang et al. 2024, arXiv 2410.17146): changes scaled up from the first layer to the last.

The layer is the one that the network counts: the released code takes the first `.i.` in a name, an expert's number too.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel
from consort.merge.arithmetic.votes import per_model, task_vector
from consort.merge.method import method


@method(paper="2410.17146", on="deltas", symmetric=True, inputs=(1, None), base="required")
def lines(
    deltas: Float[Tensor, "model *shape"],
    depth: float | None,
    *,
    alpha: float = 0.25,
    beta: float = 0.75,
    weight: PerModel[float] = 1.0,
    outside: Literal["alpha", "last"] = "alpha",
) -> Float[Tensor, "*shape"]:
    """(α + β l / (L - 1)) Σ w_i d_i in layer l of L: of one model, or of a merge, given as the only model.

    Before the layers α; after them (`outside`) α, or as in the last layer. One model keeps its deep layers with
    β = 1 - α.
    """
    place = (1.0 if outside == "last" else 0.0) if depth is None else depth
    return task_vector(deltas, per_model(weight, len(deltas)), normalize=False, lambda_=alpha + beta * place)
