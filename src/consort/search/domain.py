"""What is searched: points of a box, and the known points to start from; and what an optimizer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jaxtyping import Float

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Domain:
    """A box of coordinates, closed. `low`, `high`: one bound for each coordinate; `names` say what each one is.

    `starts`: points known before the search, best guess first: for n experts the unit vectors. `groups` splits the
    coordinates where they repeat for groups of layers: group g has the coordinates in `groups[g]`.
    """

    low: Sequence[float]
    high: Sequence[float]
    names: Sequence[str] = ()
    starts: Sequence[Sequence[float]] = ()
    groups: Sequence[Sequence[int]] = ()

    @property
    def dim(self) -> int:
        return len(self.low)


class Optimizer(Protocol):
    """Asks for points and is told their scores; deterministic, so that its journal replays it.

    Made as `Name(domain, seed=…, **its own keyword parameters)`.
    """

    def ask(self) -> Float[Tensor, "pop dim"]:
        """The points whose scores are wanted next, float64; no rows once the search is over."""

    def tell(self, scores: Float[Tensor, "pop"]) -> None:
        """The scores of the points just asked for, larger is better; -inf for a point that could not be made."""
