"""RAM (arXiv 2601.13572): entries that one model changed are taken over, those that several changed are averaged."""

from __future__ import annotations

from math import inf
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from consort.core.params import Range
from consort.merge.arithmetic.reductions import sums
from consort.merge.arithmetic.votes import along, total
from consort.merge.engine.blocks import Block, Blocks
from consort.merge.method import method


def active(deltas: Float[Tensor, "model *shape"], epsilon: float) -> tuple[Bool[Tensor, "model *shape"], Tensor]:
    """Where each model changed, and how many did."""
    changed = deltas.abs() > epsilon
    return changed, total(changed.to(deltas.dtype))


def mean_of_active(
    deltas: Float[Tensor, "model *shape"], changed: Bool[Tensor, "model *shape"], count: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The mean of each entry over the models that changed it; 0 where none did."""
    return total(deltas * changed) / count.clamp(min=1)


@method(
    paper="2601.13572",
    on="deltas",
    symmetric=True,
    inputs=(1, None),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "`epsilon`, below which a change is none, is a fixed size"},
)
def ram(
    deltas: Float[Tensor, "model *shape"], *, epsilon: Annotated[float, Range(0, inf)] = 1e-5
) -> Float[Tensor, "*shape"]:
    """Each entry's mean over the models that changed it by more than `epsilon`."""
    return mean_of_active(deltas, *active(deltas, epsilon))


def unique_factors(blocks: Blocks, *, r: float, alpha: float, epsilon: float) -> Float[np.ndarray, "model"]:
    """1 + r clip(shared_i / unique_i, 0, α), counting entries of the tensor."""

    def counts(block: Block) -> Tensor:
        changed, count = active(block.stack, epsilon)
        return torch.cat((changed & (count > 1), changed & (count == 1))).flatten(1)

    shared, unique = sums(blocks, counts).reshape(2, -1)
    ratio = np.divide(shared, unique, out=np.zeros_like(shared), where=unique > 0)
    factors: Float[np.ndarray, "model"] = 1 + r * np.clip(ratio, 0, alpha)
    return factors


@method(
    paper="2601.13572",
    on="deltas",
    statistic=unique_factors,
    symmetric=True,
    inputs=(1, None),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "`epsilon`, below which a change is none, is a fixed size"},
)
def ramplus_tl(
    deltas: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model"],
    *,
    r: float = 0.1,
    alpha: Annotated[float, Range(0, inf)] = 0.2,
    epsilon: Annotated[float, Range(0, inf)] = 1e-5,
) -> Float[Tensor, "*shape"]:
    """As ram, with entries that only one model changed enlarged the more that model shares with others.

    Their factor is 1 + `r` times the ratio of its shared to its own entries, at most `alpha`.
    """
    changed, count = active(deltas, epsilon)
    enlarged = torch.where(count == 1, deltas * along(torch.from_numpy(stat), deltas), deltas)
    return mean_of_active(enlarged, changed, count)
