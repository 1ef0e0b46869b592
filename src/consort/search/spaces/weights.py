"""Mixtures of full weights (Model Swarms, 2410.11163; sparsified experts: PSO-Merging, 2508.19839)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.merge import merge
from consort.search.engine.domain import Domain, coefficient_domain
from consort.search.spaces import space
from consort.weights.checkpoint import Checkpoint


@space(
    paper="2410.11163",
    of="linear",
    makes="checkpoint",
    base="first",
    fixed={"normalize": False},
    sparsified="dare_linear",
)
class Weights:
    """A point is sum_i c_i W_i over the experts, with `base` before them if it is given.

    Optimizers that need a box look in [low, high]. `extra` starts from scaled sums of the task vectors too, and
    `sparsified` from the base and a copy of each expert that keeps the share `density` of its delta; both need the
    base. Raises BadParameter.
    """

    def __init__(
        self,
        models: Sequence[Checkpoint],
        *,
        base: Checkpoint | None = None,
        low: float = -0.5,
        high: float = 1.5,
        extra: bool = False,
        sparsified: bool = False,
        density: Annotated[float, Range(0, 1)] = 0.2,
        seed: int = 0,
    ) -> None:
        if base is None and (extra or sparsified):
            raise BadParameter("needs the base", field="base", hint="the model that the experts were tuned from")
        self.models, self.base, self.low, self.high = tuple(models), base, low, high
        self.extra, self.sparsified, self.density, self.seed = extra, sparsified, density, seed
        copies: list[Checkpoint] = []
        if sparsified:
            copies += [merge("dare_linear", [m], base=base, density=density, seed=seed) for m in self.models]
        self.members = (*(() if base is None else (base,)), *self.models, *copies)

    @property
    def domain(self) -> Domain:
        """A coefficient for each expert, the base's before them."""
        experts = self.members if self.base is None else self.members[1:]
        return coefficient_domain(
            [model.name for model in experts],
            base=None if self.base is None else self.base.name,
            extra=self.extra,
            start_at_base=self.sparsified,
            low=self.low,
            high=self.high,
        )

    def checkpoint(self, point: Sequence[float]) -> Checkpoint:
        """The mixture at `point`, lazy."""
        return merge("linear", self.members, weight=[float(x) for x in point], normalize=False)
