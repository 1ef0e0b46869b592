"""What an eviction sees of a row's cache, and what it says: how much each position of each head is worth keeping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Held:
    """The cache of one row: rotated keys, values, and where it was asked for, the states before each layer.

    `lean` is the pass that wrote it (see `models.hf.lean_pass`).
    """

    keys: Float[Tensor, "layer head slot size"]
    values: Float[Tensor, "layer head slot size"]
    lean: Any
    states: Float[Tensor, "layer slot hidden"] | None = None


class Eviction(ABC):
    """Scores positions of a cache; the largest are kept, of equals the earlier."""

    needs_states = False
    """Whether it needs the states before each layer."""

    @abstractmethod
    def scores(self, held: Held) -> Float[Tensor, "layer head slot"]:
        """How much each position is worth keeping."""
