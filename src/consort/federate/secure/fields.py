"""Numbers as integers modulo 2^32, so that masks hide them exactly and vanish exactly from a sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt32
from torch import Tensor

from consort.core.errors import BadParameter
from consort.federate.state import State

LEVELS = 2**22 - 1
MOST_WEIGHT = 1024
"""Largest sum of weights: 10 bits and 22 of a number are 32."""

Words = UInt32[np.ndarray, " entry"]


def check_weights(weights: Sequence[int]) -> None:
    """Raise BadParameter where a sum of quantised numbers could overflow."""
    if any(weight < 1 for weight in weights):
        raise BadParameter("a weight is less than 1", field="weights", hint="whole numbers from 1")
    if sum(weights) > MOST_WEIGHT:
        what = f"weights that sum to {sum(weights)} could overflow 32 bits"
        raise BadParameter(what, field="weights", hint=f"at most {MOST_WEIGHT} in all")


def whole_weights(samples: Mapping[str, int], weighting: str = "samples") -> dict[str, int]:
    """Whole numbers, in proportion to the samples as nearly as the bits allow, that sum to at most 1024.

    Raises BadParameter for more than 1024 clients.
    """
    if len(samples) > MOST_WEIGHT:
        raise BadParameter(f"{len(samples)} clients", field="secure", hint=f"at most {MOST_WEIGHT} in a round")
    if weighting == "uniform" or not sum(samples.values()):
        return dict.fromkeys(samples, 1)
    scale = (MOST_WEIGHT - len(samples)) / sum(samples.values())
    return {id: 1 + int(count * scale) for id, count in samples.items()}


def flattened(state: State, names: Sequence[str]) -> Float[Tensor, " entry"]:
    """All tensors one after the other, in float64."""
    return torch.cat([state[name].double().reshape(-1) for name in names])


def unflattened(values: Float[Tensor, " entry"], like: State, names: Sequence[str]) -> dict[str, Tensor]:
    """The inverse, in the dtype of `like`."""
    sizes = [like[name].numel() for name in names]
    parts = torch.split(values, sizes)
    return {n: p.view(like[n].shape).to(like[n].dtype) for n, p in zip(names, parts, strict=True)}


def quantised(values: Float[Tensor, " entry"], bound: float, draws: Float[Tensor, " entry"]) -> Words:
    """round((x + c) / (2c) · (2^22 - 1)) of x in [-c, c], rounded up with the probability of the rest by `draws`."""
    scaled = (values.clamp(-bound, bound) + bound) / (2 * bound) * LEVELS
    levels = (scaled + draws).floor().clamp(0, LEVELS)
    words: Words = levels.numpy().astype(np.uint32)
    return words


def mean_of(total: Words, weight: int, bound: float) -> Float[Tensor, " entry"]:
    """The weighted mean that a sum of quantised numbers stands for."""
    levels = torch.from_numpy(total.astype(np.float64)) / weight
    return levels / LEVELS * (2 * bound) - bound
