"""TALL masks and Consensus Task Arithmetic (Wang et al. 2024, arXiv 2405.07813): where each task is in the sum."""

from __future__ import annotations

from math import inf
from typing import Annotated

from jaxtyping import Bool, Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.params import PerModel, Range
from consort.merge.arithmetic.votes import along, per_model, total
from consort.merge.method import method


def tall_masks(
    deltas: Float[Tensor, "model *shape"], threshold: Float[Tensor, "model"]
) -> tuple[Bool[Tensor, "model *shape"], Float[Tensor, "*shape"]]:
    """m_i = |d_i| > t_i |Σ d - d_i|, and Σ d."""
    summed = total(deltas)
    return deltas.abs() > along(threshold, deltas) * (summed - deltas).abs(), summed


@method(paper="2405.07813", on="deltas", symmetric=True, inputs=(1, None), base="required")
def consensus(
    deltas: Float[Tensor, "model *shape"],
    *,
    threshold: PerModel[Annotated[float, Range(0, inf)]] = 0.4,
    agreement: Annotated[int, Range(0, inf)] = 2,
    lambda_: float = 1.0,
) -> Float[Tensor, "*shape"]:
    """λ Σ d_i in the entries that at least `agreement` masks keep; 0: task arithmetic.

    A mask keeps what its model changed by more than `threshold` times what all others did.
    """
    masks, summed = tall_masks(deltas, per_model(threshold, len(deltas)))
    return lambda_ * (masks.sum(0) >= agreement) * summed


@method(paper="2405.07813", on="deltas", inputs=(1, None), base="required")
def tall_mask(
    deltas: Float[Tensor, "model *shape"],
    *,
    task: Annotated[int, Range(0, inf)] = 0,
    threshold: PerModel[Annotated[float, Range(0, inf)]] = 0.4,
) -> Float[Tensor, "*shape"]:
    """One task's part of the sum, m_i Σ d: `task` is its model's number, from 0. Raises BadParameter for another."""
    if task >= len(deltas):
        raise BadParameter(f"there are {len(deltas)} models", field="task", hint=f"0 to {len(deltas) - 1}")
    masks, summed = tall_masks(deltas, per_model(threshold, len(deltas)))
    return masks[task] * summed
