"""Mixtures of adapters over one base, many of which are evaluated in one forward pass (`search.packed`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.core.errors import BadParameter
from consort.merge.adapters.merge_adapters import MergeAdapters
from consort.search.engine.domain import Domain, coefficient_domain
from consort.search.spaces import space
from consort.weights.checkpoint import Checkpoint


@space(
    paper="2307.13269",
    takes="adapters",
    of="merge_adapters",
    makes="adapter",
    base="under",
    fixed={"method": {"linear": {"normalize": False}}},
    when={"mode": "factor"},
)
class Adapters:
    """A point is sum_i c_i D_i over the adapters' deltas, with `mode: factor` of their factors.

    Where `base` is given a coordinate before the adapters is its own; it changes nothing, since its delta is 0.
    Optimizers that need a box look in [low, high]. `extra`, which needs the base, starts from scaled sums of the deltas
    too.
    """

    def __init__(
        self,
        models: Sequence[Checkpoint],
        *,
        base: Checkpoint | None = None,
        low: float = -0.5,
        high: float = 1.5,
        extra: bool = False,
        mode: Literal["exact", "factor"] = "exact",
    ) -> None:
        self.models, self.base, self.low, self.high = tuple(models), base, low, high
        self.extra, self.mode = extra, mode

    @property
    def domain(self) -> Domain:
        """A coefficient for each adapter, the base's before them."""
        names = [model.name for model in self.models]
        base = None if self.base is None else self.base.name
        return coefficient_domain(names, base=base, extra=self.extra, low=self.low, high=self.high)

    def adapter(self, point: Sequence[float]) -> Checkpoint:
        """The mixture at `point` as one adapter. Raises BadParameter for a point of another space."""
        if len(point) not in (len(self.models), self.domain.dim):
            message = f"{len(point)} numbers are no point of {self.domain.dim} coordinates"
            raise BadParameter(message, field="point", hint="a coefficient for each adapter, the base's before them")
        weight = [float(x) for x in point][-len(self.models) :]
        method = {"linear": {"normalize": False}} if self.mode == "factor" else "linear"
        return MergeAdapters(self.models, weight=weight, mode=self.mode, method=method)
