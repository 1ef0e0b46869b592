"""SCE (Wan et al. 2024, FuseChat, arXiv 2408.07990): select what varies, calculate coefficients, erase minorities."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import Range
from consort.merge.arithmetic.reductions import order_statistics, sums
from consort.merge.arithmetic.votes import along, divisor, elected, positive, total
from consort.merge.engine.blocks import Block, Blocks
from consort.merge.method import method


class Selection(NamedTuple):
    """The least variance selected and the models' coefficients."""

    threshold: float
    coefficients: Float[np.ndarray, "model"]


def variance(deltas: Float[Tensor, "model *shape"]) -> Float[Tensor, "*shape"]:
    """Population variance over models, of differences from the first: exactly 0 for equal models."""
    apart = deltas - deltas[0]
    return total((apart - total(apart) / len(deltas)).square()) / len(deltas)


def selection(blocks: Blocks, *, select_topk: float) -> Selection:
    """From where on entries vary much over the models, and each model's share of the energy there."""
    threshold = _threshold(blocks, select_topk)
    energy = sums(blocks, lambda block: _selected(block.stack, threshold).square())
    return Selection(threshold, energy / (energy.sum() or 1.0))


def _threshold(blocks: Blocks, select_topk: float) -> float:
    """The k-th largest variance, k the share `select_topk` of those that are not zero."""

    def quantity(block: Block) -> Tensor:
        return variance(block.stack)[None]

    if select_topk >= 1:
        return 0.0
    varying = int(sums(blocks, lambda block: (quantity(block) > 0).double())[0])
    if not varying:
        return 0.0
    k = int(select_topk * varying)
    n = prod(blocks.shape)
    return float(order_statistics(blocks, quantity, [[n - k]])[0][0]) if k else np.inf


def _selected(deltas: Float[Tensor, "model *shape"], threshold: float) -> Float[Tensor, "model *shape"]:
    return deltas * (variance(deltas) >= threshold) if threshold > 0 else deltas


@method(paper="2408.07990", on="deltas", statistic=selection, symmetric=True, inputs=(1, None), base="required")
def sce(
    deltas: Float[Tensor, "model *shape"],
    stat: Selection,
    *,
    select_topk: Annotated[float, Range(0, 1)] = 1.0,
    mask_scope: Literal["all", "coefficients"] = "all",
) -> Float[Tensor, "*shape"]:
    """Changes weighted by each model's energy, at entries where the models vary most, of the sign of their sum.

    `select_topk`: share of the varying entries that is kept. `mask_scope`: `all`, as the paper says, or `coefficients`,
    as the authors' code does: the selection then decides on the weights alone, and all entries are merged.
    """
    kept = _selected(deltas, stat.threshold) if mask_scope == "all" else deltas
    counted = positive(kept * elected(kept)) * along(torch.from_numpy(stat.coefficients), kept)
    return total(kept * counted) / divisor(total(counted))
