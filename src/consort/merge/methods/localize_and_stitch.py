"""Localize-and-Stitch without data (He et al. 2024, arXiv 2408.13656): each model's largest changes, overlaps averaged.

The paper's other form trains the masks on a few examples; its dataless one is this.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from consort.core.params import PerModel, Range
from consort.merge.arithmetic.reductions import trimming_thresholds
from consort.merge.arithmetic.votes import at_least, total
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method


def thresholds(blocks: Blocks, *, density: tuple[float, ...], scope: str) -> Float[np.ndarray, "model"]:
    """The least magnitude kept of each model."""

    def of(part: Blocks) -> Float[np.ndarray, "model"]:
        return trimming_thresholds(part, density) if prod(part.shape) else np.zeros(part.models)

    found: Float[np.ndarray, "model"] = blocks.of_model(of) if scope == "model" else of(blocks)
    return found


@method(paper="2408.13656", on="deltas", statistic=thresholds, symmetric=True, inputs=(1, None), base="required")
def localize_and_stitch(
    deltas: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model"],
    *,
    density: PerModel[Annotated[float, Range(0, 1)]] = 0.05,
    scope: Literal["model", "tensor"] = "model",
) -> Float[Tensor, "*shape"]:
    """Each entry's mean over the models that keep it; a model keeps the share `density` of its largest changes.

    `scope`: largest within the whole model or within each tensor.
    """
    kept = at_least(deltas, stat)
    return total(kept) / total((kept != 0).to(kept.dtype)).clamp(min=1)
