"""Sums over clients in float64, one tensor of one client at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from consort.core.errors import BadParameter
from consort.federate.state import State, Update

Weighting = Literal["samples", "uniform"]


def shares(updates: Sequence[Update], weighting: str = "samples") -> list[float]:
    """a_i = n_i / sum n, or 1 / S. Raises BadParameter where nobody has any samples."""
    counts = [update.samples if weighting == "samples" else 1 for update in updates]
    whole = sum(counts)
    if whole <= 0:
        raise BadParameter("no client has any samples", field="weighting", hint="use weighting: uniform")
    return [count / whole for count in counts]


def mean(updates: Sequence[Update], weights: Sequence[float], name: str) -> Float64[Tensor, "*shape"]:
    """sum a_i w_i of one tensor; clients of weight 0 are not read."""
    total: Tensor | None = None
    for update, weight in zip(updates, weights, strict=True):
        if weight:
            part = update.state[name].double() * weight
            total = part if total is None else total.add_(part)
    assert total is not None  # the weights sum to 1
    return total


def moved(base: Tensor, average: Float64[Tensor, "*shape"], step: Float64[Tensor, "*shape"] | None = None) -> Tensor:
    """The state after a `step` from the base, in the base's dtype; written so that the step `average - base` gives
    the average itself, to the bit."""
    return average.to(base.dtype) if step is None else (average + (step - (average - base.double()))).to(base.dtype)


def kept(base: State, done: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of the base that no client trains, as they are."""
    return {name: base[name] for name in base if name not in set(done)}


def zeros(base: State, name: str) -> Float64[Tensor, "*shape"]:
    return torch.zeros(base[name].shape, dtype=torch.float64)
