"""Coefficients by groups of layers (Model-GLUE, 2410.05357, after evolutionary merging): a space for any optimizer.

The layers are cut into `blocks` of as equal length as can be, none left out; what lies outside them (embeddings, final
norm, head) is one group more. Every group has a coefficient for each model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.merge import merge
from consort.merge.trained.adamerging import schedules
from consort.search.engine.domain import Domain
from consort.search.spaces import space
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import layer_of


@space(paper="2410.05357", makes="checkpoint", example={"blocks": 2})
class LayerGroups:
    """Points of len(models) x (blocks + 1) coefficients in [0, 1]: of `task_arithmetic` over a base, else of `linear`.

    Coordinates stand group by group. The starts are the single models. Raises BadParameter for more blocks than layers.
    """

    def __init__(
        self, models: Sequence[Checkpoint], *, blocks: Annotated[int, Range(1, 1000)], base: Checkpoint | None = None
    ) -> None:
        self.models, self.blocks, self.base = tuple(models), blocks, base
        if blocks > len(self._layers):
            message = f"{len(self._layers)} layers make no {blocks} blocks"
            raise BadParameter(message, field="blocks", hint=f"1 to {len(self._layers)}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The floating tensors."""
        first = self.models[0]
        return tuple(name for name in first.keys() if first.spec(name).dtype.is_floating_point)

    @cached_property
    def _layers(self) -> list[int]:
        return sorted({layer for name in self.models[0].keys() if (layer := layer_of(name)) is not None})

    def group(self, name: str) -> int:
        """The number of a tensor's group; the last one is that of what lies outside the layers."""
        layer = layer_of(name)
        return self.blocks if layer is None else self._layers.index(layer) * self.blocks // len(self._layers)

    @property
    def units(self) -> dict[str, list[float]]:
        """The points that are single models."""
        count, dim = len(self.models), len(self.models) * (self.blocks + 1)
        return {model.name: [float(i % count == k) for i in range(dim)] for k, model in enumerate(self.models)}

    @property
    def domain(self) -> Domain:
        """A coefficient in [0, 1] for each group of layers and model."""
        count, groups = len(self.models), self.blocks + 1
        names = [f"{model.name}@{group}" for group in range(groups) for model in self.models]
        starts = list(self.units.values())
        own = [range(group * count, (group + 1) * count) for group in range(groups)]
        return Domain([0.0] * (count * groups), [1.0] * (count * groups), names, starts, own, hard=False)

    def checkpoint(self, point: Sequence[float]) -> Checkpoint:
        """The merge at `point`, lazy. Raises BadParameter, Incompatible."""
        count = len(self.models)
        if len(point) != self.domain.dim:
            message = f"{len(point)} numbers are no point of {self.domain.dim} coordinates"
            raise BadParameter(message, field="point", hint="a coefficient for each group and model")
        rows = [list(map(float, point[group * count : (group + 1) * count])) for group in range(self.blocks + 1)]
        weight = schedules(self.names, [rows[self.group(name)] for name in self.names], self.models)
        if self.base is not None:
            return merge("task_arithmetic", self.models, base=self.base, weight=weight)
        return merge("linear", self.models, weight=weight)
