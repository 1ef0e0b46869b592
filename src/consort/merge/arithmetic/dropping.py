"""Random dropping of changes, shared by the methods of DARE (arXiv 2311.03099) and DELLA (arXiv 2406.11617).

An entry is kept where its uniform number is below its probability. What is kept is rescaled: by "prob" divided by its
probability, which keeps the mean; by "l1" multiplied by L1(d) / L1(kept) of its model's tensor; by "none" not at all.
DELLA's `epsilon` is half the width of its band of probabilities, and equal magnitudes share their mean rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.merge.arithmetic.ranks import mean_ranks
from consort.merge.arithmetic.reductions import l1_factors
from consort.merge.arithmetic.votes import along, divisor, per_model, positive
from consort.merge.engine.blocks import Blocks

ROUNDING = 1e-9


def dropped(
    deltas: Float[Tensor, "model *shape"],
    uniform: Float[Tensor, "model *shape"],
    probability: Float[Tensor, "model *part"],
    rescale: str,
    l1: Float[np.ndarray, "model"] | None = None,
) -> Float[Tensor, "model *shape"]:
    """What is kept, rescaled; `l1` are the factors of that rule."""
    kept = deltas * positive(probability - uniform)
    if rescale == "prob":
        kept /= probability if probability.numel() and float(probability.min()) > 0 else divisor(probability)
    return kept if l1 is None else kept * along(torch.from_numpy(l1), kept)


def constant(density: float | Sequence[float], deltas: Float[Tensor, "model *shape"]) -> Float[Tensor, "model *ones"]:
    """DARE's probability: one for each model."""
    return along(per_model(density, len(deltas)), deltas)


def by_rank(
    density: float | Sequence[float], epsilon: float | Sequence[float], deltas: Float[Tensor, "model *rows row"]
) -> Float[Tensor, "model *rows row"]:
    """DELLA's: density - ε + 2 ε r, with r from 0 for the smallest magnitude of a row to 1 for the largest."""
    last = deltas.shape[-1] - 1
    r = mean_ranks(deltas) / last if last else torch.full_like(deltas, 0.5)
    d, e = (along(per_model(value, len(deltas)), deltas) for value in (density, epsilon))
    return d - e + 2 * e * r


def constant_l1(blocks: Blocks, *, density: Sequence[float], rescale: str) -> Float[np.ndarray, "model"] | None:
    """The factors of `rescale: l1` for DARE; the other rules read nothing."""
    if rescale != "l1":
        return None
    return l1_factors(blocks, lambda b: dropped(b.stack, b.drawn, constant(density, b.stack), rescale))


def by_rank_l1(
    blocks: Blocks, *, density: Sequence[float], epsilon: Sequence[float], rescale: str
) -> Float[np.ndarray, "model"] | None:
    """The factors of `rescale: l1` for DELLA; the other rules read nothing."""
    if rescale != "l1":
        return None
    return l1_factors(blocks, lambda b: dropped(b.stack, b.drawn, by_rank(density, epsilon, b.stack), rescale))


def refuse_band(density: Sequence[float], epsilon: Sequence[float]) -> None:
    """Check of DELLA's methods: probabilities within [0, 1]."""
    for d, e in zip(density, epsilon, strict=True):
        if d - e < -ROUNDING or d + e > 1 + ROUNDING:
            message = f"density {d:g} ± epsilon {e:g} is not within [0, 1]"
            raise BadParameter(message, field="epsilon", hint=f"at most {min(d, 1 - d):g}")
