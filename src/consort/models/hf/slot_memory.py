"""Memory for the keys and values of sessions: zeros that take time only where something is written or read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

FEWEST = 16
"""Slots of a new cache; a full one doubles."""

_ALIGNED = 64
"""Where products of matrices want to begin (bytes), so that their last digits are the same from run to run."""


def zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Zeros of the dtype and device of `like`; on a CPU the system clears a page when it is first touched."""
    if like.device.type != "cpu":
        return torch.zeros(tuple(shape), dtype=like.dtype, device=like.device)
    size = prod(shape) * like.element_size()
    raw = np.zeros(size + _ALIGNED, np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    return torch.from_numpy(raw[start : start + size]).view(like.dtype).view(tuple(shape))


def larger(
    store: Float[Tensor, "layer row head slot size"], batch: int, slots: int, used: tuple[int, int]
) -> Float[Tensor, "layer batch head slots size"]:
    """A cache for more rows or slots, with what the first `used` rows and slots of `store` hold."""
    layers, _, heads, _, size = store.shape
    found, (rows, width) = zeros((layers, batch, heads, slots, size), store), used
    found[:, :rows, :, :width] = store[:, :rows, :, :width]
    return found


def selected(
    store: Float[Tensor, "layer row head slot size"], kept: Int[Tensor, " kept"], width: int
) -> Float[Tensor, "layer kept head slot size"]:
    """The rows `kept` of a cache whose first `width` slots are in use, in its own memory where they fit."""
    if len(kept) > store.shape[1]:
        return store[:, :, :, : width + FEWEST].index_select(1, kept)
    for layer in store[:, :, :, :width]:
        layer[: len(kept)] = layer[kept]
    return store


def move(store: Float[Tensor, "layer row head slot size"], rows: Sequence[int], width: int) -> None:
    """Row `rows[i]` to place i, in place: only those that change their place are copied, `width` slots of each."""
    moved = [place for place, row in enumerate(rows) if place != row]
    if moved:
        to = torch.tensor(moved, device=store.device)
        source = torch.tensor([rows[place] for place in moved], device=store.device)
        for layer in store[:, :, :, :width]:
            layer[to] = layer[source]
