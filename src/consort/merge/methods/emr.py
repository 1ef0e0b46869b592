"""EMR-Merging (Huang et al. 2024, arXiv 2405.17461): one shared change, and for each task a mask and a scale of it.

Where the changes cancel out nothing is shared (the released code calls zero a minus). Scales are ratios of sums over
all entries, as in the paper (the code adds up the means of the tensors, so that a norm counts like a matrix).
"""

from __future__ import annotations

from math import inf
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.merge.arithmetic.reductions import sums
from consort.merge.arithmetic.votes import total
from consort.merge.engine.blocks import Block, Blocks
from consort.merge.method import method


def shared_change(deltas: Float[Tensor, "model *shape"]) -> Float[Tensor, "*shape"]:
    """u: of the sign of the sum, as large as the largest change of that sign."""
    sign = total(deltas).sign()
    return sign * (deltas * sign).amax(0).clamp(min=0)


def scales(blocks: Blocks) -> Float[np.ndarray, "model"]:
    """Σ|d_i| / Σ|m_i u| over all tensors."""

    def sizes(block: Block) -> Tensor:
        shared = shared_change(block.stack)
        return torch.cat((block.stack.abs(), (block.stack * shared > 0) * shared.abs())).flatten(1)

    def of(all_blocks: Blocks) -> Float[np.ndarray, "model"]:
        own, kept = sums(all_blocks, sizes).reshape(2, -1)
        ratio: Float[np.ndarray, "model"] = np.divide(own, kept, out=np.zeros_like(own), where=kept > 0)
        return ratio

    found: Float[np.ndarray, "model"] = blocks.of_model(of)
    return found


@method(paper="2405.17461", on="deltas", statistic=scales, inputs=(1, None), base="required")
def emr(
    deltas: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model"],
    *,
    task: Annotated[int, Range(0, inf)] | None = None,
) -> Float[Tensor, "*shape"]:
    """The shared change u or, with `task` (a model's number, from 0), that task's part of it: scale_i m_i u.

    m_i: where d_i has the sign of u. Raises BadParameter for a task that is not among the models.
    """
    shared = shared_change(deltas)
    if task is None:
        return shared
    if task >= len(deltas):
        raise BadParameter(f"there are {len(deltas)} models", field="task", hint=f"0 to {len(deltas) - 1}")
    return float(stat[task]) * (deltas[task] * shared > 0) * shared
