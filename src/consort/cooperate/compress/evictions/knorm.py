"""Keys of small norm are those that much attention goes to (2406.11430)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.compress.eviction import Eviction, Held
from consort.cooperate.compress.evictions import eviction


@eviction(paper="2406.11430")
class Knorm(Eviction):
    """Keep the keys of the smallest norm."""

    def scores(self, held: Held) -> Float[Tensor, "layer head slot"]:
        norms: Tensor = torch.linalg.vector_norm(held.keys.float(), dim=-1)
        return -norms
