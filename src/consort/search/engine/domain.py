"""What is searched: points of a box, and the known points to start from; and what an optimizer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jaxtyping import Float

if TYPE_CHECKING:
    from torch import Tensor

SCALES = (0.3, 0.6, 1.0)
"""By which `extra` scales the sum of the task vectors."""
LOOK = (-0.5, 1.5)
"""Where optimizers that need a box look for the coefficient of an expert."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A box of coordinates, closed. `low`, `high`: one bound for each coordinate; `names` say what each one is.

    `starts`: points known before the search, best guess first: for n experts the unit vectors. `groups` splits the
    coordinates where they repeat for groups of layers: group g has the coordinates in `groups[g]`. Where `hard` is
    false, points outside the box make sense too, and the box says only where to look (coefficients of experts).
    `centre`: where an optimizer with a single first point begins, if not in the middle of the box. `complete`: the
    starts are all points that there should be at first, so that no children of them are added.
    """

    low: Sequence[float]
    high: Sequence[float]
    names: Sequence[str] = ()
    starts: Sequence[Sequence[float]] = ()
    groups: Sequence[Sequence[int]] = ()
    hard: bool = True
    centre: Sequence[float] = ()
    complete: bool = False

    @property
    def dim(self) -> int:
        """The number of coordinates."""
        return len(self.low)


class Optimizer(Protocol):
    """Asks for points and is told their scores; deterministic, so that its journal replays it.

    Made as `Name(domain, seed=…, **its own keyword parameters)`.
    """

    def ask(self) -> Float[Tensor, "pop dim"]:
        """The points whose scores are wanted next, float64; no rows once the search is over."""

    def tell(self, scores: Float[Tensor, "pop"]) -> None:
        """The scores of the points just asked for, larger is better; -inf for a point that could not be made."""


class Racing(Optimizer, Protocol):
    """An optimizer that can say which scores would change nothing, so that an evaluation may stop early."""

    def limits(self) -> Float[Tensor, "pop 2"]:
        """Closed intervals, one for each point just asked: whatever score inside is told, the same points follow."""


def coefficient_domain(
    experts: Sequence[str],
    *,
    base: str | None = None,
    extra: bool = False,
    start_at_base: bool = False,
    low: float = LOOK[0],
    high: float = LOOK[1],
) -> Domain:
    """Coefficients of experts, and before them of a base: points whose coordinates sum to 1 at the start.

    The starts are the experts; with `extra` also base + s (sum of the task vectors) for s = .3, .6, 1, without which a
    swarm never leaves the affine hull of the experts (not in the paper); with `start_at_base` also the base, and no
    children of them.
    """
    names = ([] if base is None else [base]) + list(experts)
    count, first = len(names), 0 if base is None else 1
    starts = [[float(i == j) for j in range(count)] for i in range(first, count)]
    if base is not None and start_at_base:
        starts.append([1.0] + [0.0] * len(experts))
    if base is not None and extra:
        starts += [[1 - s * len(experts)] + [s] * len(experts) for s in SCALES]
    box = [low] * count, [high] * count
    return Domain(*box, tuple(names), tuple(map(tuple, starts)), hard=False, complete=start_at_base)
