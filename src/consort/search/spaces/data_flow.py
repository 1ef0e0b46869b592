"""Evolution in data-flow space (Akiba et al. 2024, arXiv 2403.13187): which layers of which models, in which order.

The pool is every model's layers in turn, the whole `repeats` times over; an indicator for each place says whether the
path goes through it. When it passes from layer i to layer j that does not follow i in its own model, activations are
multiplied by W_ij = exp(a [another model] + b (layers jumped) / depth): two parameters, where the paper's own form is
not published with its code. Any optimizer searches the points; CMA-ES is the paper's.

The result is an ordinary checkpoint. A decoder that normalises before each block adds f(norm(h)) to h, and norm(w h) =
norm(h), so scaling h by w is dividing all that is added later by w: the scales go into the layers' output projections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from math import inf
from operator import mul
from typing import Annotated

from consort.core.errors import BadParameter, Incompatible
from consort.core.params import Range
from consort.core.schedule import ByName, Rule
from consort.merge import merge
from consort.search.engine.domain import Domain
from consort.search.spaces import space
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import layer_of, role_of
from consort.weights.layers import Layers
from consort.weights.views.stack import Slice, Stack

WRITES = ("attention.o", "mlp.down")
"""Roles of what a layer adds to the residual stream."""
ON, OFF = 0.75, 0.25
"""Indicators of layers that a start takes and leaves."""
TAKEN = 0.5
"""Indicators above this are 1."""
SWITCH, JUMP = 0.5, 1.0
"""Bounds of |a| and |b|."""


@space(paper="2403.13187", makes="checkpoint")
class DataFlow:
    """The space of paths through the layers of `models`, the pool repeated `repeats` times.

    A point has an indicator in [0, 1] for each place, then a and b. The search starts from the first model as it is.
    Paths of more than `most` layers (0: no bound) and empty ones are no models. Raises BadParameter, and Incompatible
    for models whose layers do not fit together.
    """

    def __init__(
        self,
        models: Sequence[Checkpoint],
        *,
        repeats: Annotated[int, Range(1, 64)] = 1,
        most: Annotated[int, Range(0, inf)] = 0,
    ) -> None:
        self.models, self.repeats, self.most = tuple(models), repeats, most
        if not self.models:
            raise BadParameter("there are no layers to choose from", field="models", hint="give models")
        try:
            Stack([Slice(self.models[run.model], (run.first, run.end)) for run in runs_of(self._once)])
        except Incompatible as error:
            error.field, error.hint = "models", "models of one architecture, width and vocabulary"
            raise
        depth = sum(model == 0 for model, _ in self._once)
        if most and most < depth:
            hint = f"{depth} or more, so that the search can start from {self.models[0].name}; 0 is no bound"
            raise BadParameter(f"{most} layers are too few", field="most", hint=hint)

    @cached_property
    def _once(self) -> list[tuple[int, int]]:
        """Model and layer of every place, the pool taken once."""
        return [
            (number, layer)
            for number, layers in enumerate(Layers(model) for model in self.models)
            for layer in range(layers.low, layers.low + layers.count)
        ]

    @cached_property
    def pool(self) -> list[tuple[int, int]]:
        """Model and layer of every place."""
        return self._once * self.repeats

    @property
    def units(self) -> dict[str, tuple[float, ...]]:
        """Each model by itself as a path of the space, where it is short enough."""
        found = {}
        for number, model in enumerate(self.models):
            taken = [place < len(self._once) and owner == number for place, (owner, _) in enumerate(self.pool)]
            if not self.most or sum(taken) <= self.most:
                found[model.name] = (*(ON if own else OFF for own in taken), 0.0, 0.0)
        return found

    @property
    def domain(self) -> Domain:
        """The box that an optimizer searches, with the single models' own paths as its starts."""
        size, starts = len(self.pool), tuple(self.units.values())
        names = [f"{self.models[model].name}.{layer}" for model, layer in self.pool] + ["switch", "jump"]
        low, high = [0.0] * size + [-SWITCH, -JUMP], [1.0] * size + [SWITCH, JUMP]
        return Domain(low, high, names, starts, centre=starts[0])

    def path(self, point: Sequence[float]) -> list[tuple[int, int]]:
        """Model and layer of each step. Raises BadParameter for a point of another space or a path that is none."""
        if len(point) != len(self.pool) + 2:
            message = f"{len(point)} numbers are no point of {len(self.pool) + 2} coordinates"
            raise BadParameter(message, field="point", hint="one for each place of the pool, and two for scales")
        found = [place for place, taken in zip(self.pool, point, strict=False) if taken > TAKEN]
        if not found or (self.most and len(found) > self.most):
            raise BadParameter(f"the path has {len(found)} layers", field="point", hint=f"1 to {self.most or 'any'}")
        return found

    def scales(self, point: Sequence[float]) -> list[float]:
        """By how much the activations are multiplied before each layer of the path."""
        path, (a, b) = self.path(point), map(float, point[-2:])
        return [1.0, *(self._scale(i, j, a, b) for i, j in zip(path, path[1:], strict=False))]

    def _scale(self, i: tuple[int, int], j: tuple[int, int], a: float, b: float) -> float:
        depth = len(self.pool) / self.repeats / len(self.models)
        return math.exp(a * (i[0] != j[0]) + b * (j[1] - i[1] - 1) / depth)

    def checkpoint(self, point: Sequence[float]) -> Checkpoint:
        """The model at `point`, lazy; `plan.to_plan` writes it as a plan. Raises BadParameter, Incompatible."""
        by_step = accumulate(self.scales(point), mul)
        runs = runs_of(self.path(point), list(by_step))
        return Stack([Slice(_divided(self.models[run.model], run), (run.first, run.end)) for run in runs])


@dataclass(frozen=True, slots=True)
class Run:
    """Layers [first, end) of a model that follow each other, and what all activations were multiplied by so far."""

    model: int
    first: int
    end: int
    total: float


def runs_of(path: Sequence[tuple[int, int]], totals: Sequence[float] = ()) -> list[Run]:
    """A path as runs; inside one no scale changes."""
    runs: list[Run] = []
    for (model, layer), total in zip(path, totals or [1.0] * len(path), strict=True):
        if runs and (runs[-1].model, runs[-1].end) == (model, layer):
            runs[-1] = replace(runs[-1], end=layer + 1)
        else:
            runs.append(Run(model, layer, layer + 1, total))
    return runs


def _divided(model: Checkpoint, run: Run) -> Checkpoint:
    """The model, what the run's layers add to the stream divided by the run's scale."""
    if run.total == 1:
        return model
    layers = range(run.first, run.end)
    written = [name for name in model.keys() if layer_of(name) in layers and role_of(name) in WRITES]
    rules = [Rule(1 / run.total, name) for name in sorted(written, key=len, reverse=True)]
    return merge("passthrough", [model], scale=ByName((*rules, Rule(1.0))))
