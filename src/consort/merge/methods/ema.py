"""Exponential moving average over the checkpoints of one training, in their order (Polyak and Juditsky 1992)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from consort.core.params import Range
from consort.merge.arithmetic.votes import per_model, weighted_total
from consort.merge.method import method


@method(on="weights", symmetric=False, inputs=(1, None), base="ignored")
def ema(
    weights: Float[Tensor, "model *shape"], *, decay: Annotated[float, Range(0, 1)] = 0.999
) -> Float[Tensor, "*shape"]:
    """The moving average after the last checkpoint: θ <- decay θ + (1 - decay) x, from the first checkpoint on.

    `decay`: .999 is for checkpoints of every step; of checkpoints saved every k steps it is .999^k.
    """
    later = len(weights) - 1
    shares = [decay**later] + [(1 - decay) * decay ** (later - i) for i in range(1, later + 1)]
    return weighted_total(weights, per_model(shares, len(weights)))
