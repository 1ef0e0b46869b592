"""The ask/tell side of a search that is written as a generator: it yields points and is sent their scores.

A generator reads like the paper's loop, and its state is its local variables; the journal replays it from the start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.search.engine.domain import Domain

Steps = Generator[Float[Tensor, "pop dim"], Float[Tensor, "pop"], None]


class Generated(ABC):
    """An optimizer whose whole search is the generator `steps`; the search is over when the generator ends."""

    domain: Domain
    _run: Steps | None = None
    _asked: Tensor | None = None

    @abstractmethod
    def steps(self) -> Steps:
        """Yields points (float64) and is sent their scores, until there is nothing left to ask."""

    def ask(self) -> Float[Tensor, "pop dim"]:
        """The points that `steps` has yielded; no rows after its end."""
        if self._run is None:
            self._run = self.steps()
            self._asked = next(self._run, None)
        return torch.empty(0, self.domain.dim, dtype=torch.float64) if self._asked is None else self._asked

    def tell(self, scores: Float[Tensor, "pop"]) -> None:
        """Raises BadParameter unless there is a score, not NaN, for each point asked."""
        told = checked_scores(scores, len(self.ask()))
        if self._run is not None and self._asked is not None:
            try:
                self._asked = self._run.send(told)
            except StopIteration:
                self._asked = None


def checked_scores(scores: Float[Tensor, " pop"], wanted: int) -> Float[Tensor, " pop"]:
    """The scores of `wanted` points in float64. Raises BadParameter for another number of them, or NaN."""
    told = torch.as_tensor(scores, dtype=torch.float64)
    if told.shape != (wanted,) or bool(told.isnan().any()):
        hint = "one number for each point asked; -inf for one that could not be made"
        raise BadParameter(f"{told.tolist()} are not {wanted} scores", field="scores", hint=hint)
    return told


def starts_of(domain: Domain, who: str) -> Float[Tensor, "start dim"]:
    """The points known before the search. Raises BadParameter where there is none."""
    if not domain.starts:
        raise BadParameter(f"{who} combines known points, and there is none", field="starts", hint="give models")
    return torch.tensor([list(start) for start in domain.starts], dtype=torch.float64)


def unit_to_box(domain: Domain, unit: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
    """Points of the unit cube as points of the domain's box."""
    low, high = (torch.tensor(list(bound), dtype=torch.float64) for bound in (domain.low, domain.high))
    return low + unit * (high - low)


def box_to_unit(domain: Domain, points: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
    """The inverse of `unit_to_box`; 0 for a coordinate whose bounds are equal."""
    low, high = (torch.tensor(list(bound), dtype=torch.float64) for bound in (domain.low, domain.high))
    width = high - low
    return torch.where(width > 0, (points - low) / torch.where(width > 0, width, 1.0), 0.0)


def sum_to_one(domain: Domain, points: Float[Tensor, "pop dim"]) -> Float[Tensor, "pop dim"]:
    """Points divided by their sum, group of coordinates by group; equal shares where a sum is not positive."""
    result = points.clone()
    for group in domain.groups or [range(domain.dim)]:
        own = points[:, list(group)]
        total = own.sum(1, keepdim=True)
        result[:, list(group)] = torch.where(total > 1e-12, own / total.clamp(min=1e-12), 1 / len(group))
    return result
