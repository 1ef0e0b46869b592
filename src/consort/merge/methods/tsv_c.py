"""TSV-C (Gargiulo et al. 2024, arXiv 2412.00081): one task's model from the few directions that are stored for it.

N tasks at side // N directions each take together about twice the bytes of one whole change; `extract_adapter` of the
result stores them. Norms, biases and, unless asked for, embeddings are stored whole.
"""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.merge.method import method
from consort.merge.spectral.by_matrix import by_matrix, directions
from consort.weights.matrices import Matrices


@method(paper="2412.00081", on="deltas", grain="tensor", inputs=(1, None), base="required")
def tsv_c(
    deltas: Float[Tensor, "model *shape"],
    matrices: Matrices,
    *,
    task: Annotated[int, Range(0, inf)] = 0,
    rank: Annotated[int, Range(1, inf)] | None = None,
    share: Annotated[float, Range(0, 1)] | None = None,
    energy: Annotated[float, Range(0, 1)] | None = None,
    embedding: Literal["whole", "spectral"] = "whole",
) -> Float[Tensor, "*shape"]:
    """U_i S_i V_i^T of each linear map of one task, all else as it is: `task` is its model's number, from 0.

    Directions: `rank`, or a `share` of the smaller side, or those with the share `energy` of the squares; without any,
    the smaller side divided by N. Raises BadParameter for a task that is not among the models.
    """
    if task >= len(deltas):
        raise BadParameter(f"there are {len(deltas)} models", field="task", hint=f"0 to {len(deltas) - 1}")

    def compressed(own: Float[Tensor, "1 out in"]) -> Float[Tensor, "out in"]:
        count = rank if rank or share is not None else max(1, min(own.shape[1:]) // len(deltas))
        return directions(own, rank=count, share=share, energy=energy)[0].matrix

    kind = "spectral" if embedding == "spectral" else "mean"
    return by_matrix(
        deltas[task : task + 1], matrices, compressed, weight=1.0, vector="mean", embedding=kind, lambda_=1.0
    )
