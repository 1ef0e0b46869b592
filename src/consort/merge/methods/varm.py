"""VaRM (FuseChat 1, arXiv 2402.16107): each change weighted by its share of the energy, and nothing left out."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.merge.arithmetic.reductions import sums
from consort.merge.arithmetic.votes import along, total
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method


def energy_shares(blocks: Blocks) -> Float[np.ndarray, "model"]:
    """Each model's share of the sum of squared changes."""
    energy = sums(blocks, lambda block: block.stack.square())
    return np.asarray(energy / (energy.sum() or 1.0))


@method(paper="2402.16107", on="deltas", statistic=energy_shares, symmetric=True, inputs=(1, None), base="required")
def varm(deltas: Float[Tensor, "model *shape"], stat: Float[np.ndarray, "model"]) -> Float[Tensor, "*shape"]:
    """base + sum of the changes, each times its model's share of the squared changes."""
    return total(deltas * along(torch.from_numpy(stat), deltas))
