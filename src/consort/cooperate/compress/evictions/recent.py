"""Attention sinks and a window of the last positions (StreamingLLM, 2309.17453)."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.compress.eviction import Eviction, Held
from consort.cooperate.compress.evictions import eviction
from consort.core.params import Range


@eviction(paper="2309.17453")
class Recent(Eviction):
    """Keep the first `sinks` positions and the last ones."""

    def __init__(self, *, sinks: Annotated[int, Range(0, 100000)] = 4) -> None:
        self.sinks = sinks

    def scores(self, held: Held) -> Float[Tensor, "layer head slot"]:
        layers, heads, slots, _ = held.keys.shape
        found = torch.arange(slots, dtype=torch.float32, device=held.keys.device)
        found[: self.sinks] = torch.inf
        return found.expand(layers, heads, -1)
