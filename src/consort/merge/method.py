"""What a merge method is: a pure function of the stacked tensors of one name, and what the engine must know of it.

    @method(paper="2306.01708", on="deltas", statistic=thresholds, symmetric=True, base="required")
    def ties(deltas, stat, *, weight: PerModel[float] = 1.0, ...): ...

The function gets the stack `(model, *shape)`: of the models' tensors with `on="weights"` (preceded by the base's when
`base="required"`), of their differences from the base with `on="deltas"` (from zero where an optional base is not
given); what it returns is then added to the base. Names of further positional arguments ask for more: `stat` is the
result of `statistic`, `uniform` numbers in [0, 1) for each entry of each model, `statistics` what was collected of the
models (see `weights.stats`), stacked like the models, `matrices` the linear maps that the tensor holds (see
`weights.matrices`), `depth` where it lies, from 0 (the first layer, and what comes before) to 1, None after the layers.
All else is keyword-only: parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from consort.core.params import Param, bind, params_of
from consort.merge.arithmetic.forms import Form
from consort.merge.engine.blocks import Blocks, Grain, InMemory, shaped
from consort.merge.registry import methods
from consort.weights.disk.stream import one_torch_thread
from consort.weights.matrices import Matrices, matrices_of

BaseUse = Literal["required", "optional", "ignored"]


@dataclass(frozen=True, slots=True)
class Method:
    """A registered merge method.

    `statistic(blocks, *, ...)` is computed once for a tensor before it is merged, with those parameters of the method
    that it names. `check(*, ...)`, likewise, raises BadParameter for parameters that make no sense together.
    `symmetric`: the order of the models does not matter. `inputs`: least and greatest number of models. `statistics`
    is the kind ("fisher", "gram") of statistics that each model must come with, "" for none; a tensor that has none is
    merged without, in the finest grain. `form(models, *, ...)`, of a method of grain "entry" that sums or votes, is
    what it does as a value; it may ask for `stat`.
    """

    name: str
    function: Callable[..., Tensor]
    params: tuple[Param, ...]
    paper: str
    on: Literal["weights", "deltas"]
    grain: Grain
    statistic: Callable[..., Any] | None
    check: Callable[..., None] | None
    symmetric: bool
    inputs: tuple[int, int | None]
    base: BaseUse
    statistics: str = ""
    form: Callable[..., Form] | None = None

    @property
    def of_matrices(self) -> bool:
        """Whether the function wants to know which linear maps a tensor holds: it has an argument `matrices`."""
        return "matrices" in _arguments(self.function)

    @property
    def of_depth(self) -> bool:
        """Whether the function has an argument `depth`."""
        return "depth" in _arguments(self.function)

    @property
    def random(self) -> bool:
        """Whether the function draws: it has an argument `uniform`."""
        return "uniform" in _arguments(self.function)

    def refuse(self, params: Mapping[str, Any]) -> None:
        """Raises BadParameter for bound parameters that make no sense together."""
        if self.check:
            self.check(**_named(self.check, params))

    def measure(self, blocks: Blocks, params: Mapping[str, Any]) -> Any:
        """The statistic of one tensor, None for a method without one."""
        return self.statistic(blocks, **_named(self.statistic, params)) if self.statistic else None

    def formed(self, models: int, stat: Any, params: Mapping[str, Any]) -> Form | None:
        """What the function does to so many models, as a value; None where it has no form."""
        return self.form(models, **_named(self.form, {**params, "stat": stat})) if self.form else None

    def apply(
        self,
        stack: Tensor,
        stat: Any,
        uniform: Tensor | None,
        params: Mapping[str, Any],
        statistics: Tensor | None = None,
        matrices: Matrices | None = None,
        depth: float | None = None,
    ) -> Tensor:
        """The function, given what it asks for; a tensor without a name is told by its shape.

        Matrix products and factors of whole tensors differ in their last bits with the number of torch's threads on
        some processors, so they are computed on one.
        """
        given = {"stat": stat, "uniform": uniform, "statistics": statistics, "depth": depth}
        extra = _named(self.function, given | {"matrices": matrices or matrices_of("", stack.shape[1:], {})})
        with one_torch_thread() if self.grain == "tensor" else nullcontext():
            return self.function(stack, **extra, **params)

    def __call__(
        self,
        stack: Float[Tensor, "model *shape"],
        *,
        uniform: Float[Tensor, "model *shape"] | None = None,
        statistics: Float[Tensor, "model *stat"] | None = None,
        **params: Any,
    ) -> Float[Tensor, "*shape"]:
        """The method on whole tensors in memory, without an engine: parameters checked, statistic, function.

        Nothing is added to a base. Raises BadParameter.
        """
        bound = bind(self.name, self.params, params, len(stack) - (self.on == "weights" and self.base == "required"))
        self.refuse(bound)
        stat = self.measure(InMemory(stack, uniform, self.grain, statistics), bound)
        shape = stack.shape[1:]
        drawn = None if uniform is None else shaped(uniform.flatten(1), shape, self.grain)
        if statistics is not None and self.grain != "tensor":
            statistics = shaped(statistics.flatten(1), shape, self.grain)
        merged = self.apply(shaped(stack.flatten(1), shape, self.grain), stat, drawn, bound, statistics)
        return merged.reshape(shape)


def _named(function: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in params.items() if k in _arguments(function)}


@cache
def _arguments(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _wrap(
    function: Callable[..., Tensor],
    *,
    paper: str = "",
    on: Literal["weights", "deltas"] = "weights",
    grain: Grain = "entry",
    statistic: Callable[..., Any] | None = None,
    check: Callable[..., None] | None = None,
    symmetric: bool = False,
    inputs: tuple[int, int | None] = (1, None),
    base: BaseUse = "ignored",
    statistics: str = "",
    form: Callable[..., Form] | None = None,
) -> Method:
    params = params_of(function)
    name = function.__name__
    return Method(name, function, params, paper, on, grain, statistic, check, symmetric, inputs, base, statistics, form)


method = methods.registrar(_wrap)
"""The decorator that registers a function as a merge method; its keyword arguments are the fields of `Method`."""
