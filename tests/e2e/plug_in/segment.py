"""A space: the line between the first model and the last."""

from __future__ import annotations

from collections.abc import Sequence

from consort.core.errors import BadParameter
from consort.merge import merge
from consort.search.engine.domain import Domain
from consort.search.spaces import space
from consort.weights.checkpoint import Checkpoint


@space(makes="checkpoint")
class Segment:
    """Points x in [0, 1]: 1 - x of the first model and x of the last."""

    def __init__(self, models: Sequence[Checkpoint]) -> None:
        self.models = tuple(models)

    @property
    def units(self) -> dict[str, list[float]]:
        return {self.models[0].name: [0.0], self.models[-1].name: [1.0]}

    @property
    def domain(self) -> Domain:
        return Domain([0.0], [1.0], ("x",), tuple(map(tuple, self.units.values())))

    def checkpoint(self, point: Sequence[float]) -> Checkpoint:
        if len(point) != 1:
            raise BadParameter(f"{len(point)} numbers are no point of a line", field="point", hint="give one")
        x = float(point[0])
        return merge("linear", [self.models[0], self.models[-1]], weight=[1 - x, x])
