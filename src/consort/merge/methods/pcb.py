"""PCB-Merging (Du et al. 2024, arXiv 2410.02396): entries weighed by size and agreement.

Over the whole model, as in the official programme. exp(N z²) is taken relative to its largest value, which the
min-max that follows divides out, so that any number of models fits a float.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.reductions import order_statistics
from consort.merge.arithmetic.votes import along, per_model, total
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method


class Scales(NamedTuple):
    """For each model the ends of its magnitudes, and of its balances."""

    least: Float[np.ndarray, "model"]
    most: Float[np.ndarray, "model"]
    low: Float[np.ndarray, "model"]
    high: Float[np.ndarray, "model"]


def balances(
    deltas: Float[Tensor, "model *shape"], least: Float[np.ndarray, "model"], most: Float[np.ndarray, "model"]
) -> tuple[Float[Tensor, "model *shape"], Float[Tensor, "model *shape"]]:
    """Magnitudes within their ends, and exp(N (z² - 1)) tanh(d_i Σ d); a negative balance counts as none."""
    low, high = (along(torch.from_numpy(end), deltas) for end in (least, most))
    size = deltas.abs().clamp(low, high)
    z = (size - low) / (high - low).clamp(min=torch.finfo(deltas.dtype).tiny)
    own = torch.exp(len(deltas) * (z.square() - 1))
    return size, (own * torch.tanh(deltas * total(deltas))).clamp(min=0)


def _finite(stack: Float[Tensor, "model *shape"]) -> Float[Tensor, "model *shape"]:
    """An entry that is not finite is NaN in the merge; it must not hide the others."""
    return stack.nan_to_num(0, 0, 0)


def scales(blocks: Blocks, *, density: float, clamp: float) -> Scales:
    """The ends over all tensors of the merge."""

    def of(every: Blocks) -> Scales:
        n = prod(every.shape)
        if not n:
            return Scales(*np.zeros((4, every.models)))
        cut = int(clamp * (n - 1))
        ends = order_statistics(every, lambda block: _finite(block.stack), [[cut, n - 1 - cut]] * every.models)
        least, most = np.array(ends).T
        kept = n - max(1, int(density * n))
        found = order_statistics(
            every, lambda b: balances(_finite(b.stack), least, most)[1], [[kept, n - 1]] * every.models
        )
        low, high = np.array(found).T
        return Scales(least, most, low, high)

    found: Scales = blocks.of_model(of)
    return found


@method(
    paper="2410.02396",
    on="deltas",
    statistic=scales,
    symmetric=True,
    inputs=(1, None),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "the balance compares products of changes with 1"},
)
def pcb(
    deltas: Float[Tensor, "model *shape"],
    stat: Scales,
    *,
    weight: PerModel[float] = 1.2,
    density: Annotated[float, Range(0, 1)] = 0.05,
    clamp: Annotated[float, Range(0, 0.5)] = 1e-4,
) -> Float[Tensor, "*shape"]:
    """Σ w_i sgn(d_i) a_i s_i / Σ s_i: a the magnitude, s the balance of an entry from 0 to 1 above the `density` kept.

    `clamp`: the share of magnitudes at both ends that is drawn in. The balance compares products of changes with 1, so
    it depends on their unit.
    """
    size, balance = balances(deltas, stat.least, stat.most)
    low, high = (along(torch.from_numpy(end), deltas) for end in (stat.low, stat.high))
    share = (balance.clamp(min=low) - low) / (high - low).clamp(min=torch.finfo(deltas.dtype).tiny)
    weighted = deltas.sign() * size * share * along(per_model(weight, len(deltas)), deltas)
    return total(weighted) / total(share).clamp(min=1e-12)
