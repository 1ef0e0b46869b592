"""Mixtures of next-token distributions: the models stay as they are (token swarms of Model Swarms, 2410.11163)."""

from __future__ import annotations

from collections.abc import Sequence

from consort.ensemble.during.token_swarm import TokenSwarm
from consort.models.token_model import TokenModel
from consort.search.engine.domain import Domain, coefficient_domain
from consort.search.spaces import space


@space(paper="2410.11163", of="token_swarm", makes="model", base="first")
class Models:
    """A point is sum_i c_i p_i over the models' distributions, weights of either sign, with `base` before them.

    Optimizers that need a box look in [low, high]. `extra` starts from scaled sums of what the models add to the base.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        base: TokenModel | None = None,
        low: float = -0.5,
        high: float = 1.5,
        extra: bool = False,
    ) -> None:
        self.models, self.base, self.low, self.high, self.extra = tuple(models), base, low, high, extra

    @property
    def domain(self) -> Domain:
        """A coefficient for each model, the base's before them."""
        names = [model.name for model in self.models]
        base = None if self.base is None else self.base.name
        return coefficient_domain(names, base=base, extra=self.extra, low=self.low, high=self.high)

    def model(self, point: Sequence[float]) -> TokenSwarm:
        """The mixture at `point`."""
        members = [*([] if self.base is None else [self.base]), *self.models]
        return TokenSwarm(members, weight=[float(x) for x in point])
