"""The data-flow space of a search plan: which layers of which models, in which order (2403.13187).

    space: {data_flow: {models: [a, b], repeats: 1, most: 12}}

All of it is free: whether the path goes through a layer of the pool, and the two numbers that scale activations where
it jumps. The models are opened to count their layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

from consort.core.errors import BadPlan, ConsortError, Incompatible
from consort.core.params import Range, bind, params_of
from consort.plan.search.template import SPACE, Open

if TYPE_CHECKING:
    from consort.search.spaces.data_flow import DataFlow

NAME = "data_flow"
WHERE = f"{SPACE}.{NAME}"
ON, OFF = 0.75, 0.25
"""Indicators of layers that a start takes and leaves."""


def _options(*, repeats: Annotated[int, Range(1, 64)] = 1, most: Annotated[int, Range(0, inf)] = 0) -> None:
    """The parameters of the space beside its models; `most` 0 is no bound."""


def open_flow(arguments: Any, opened: Open) -> DataFlow:
    """The space that a plan's arguments describe, its models opened and found to fit together. Raises ConsortError."""
    from consort.search.spaces.data_flow import DataFlow

    if not isinstance(arguments, Mapping):
        hint = f"{NAME}: {{models: [a, b]}}"
        raise BadPlan(f"takes named arguments, not {arguments!r}", field=WHERE, hint=hint)
    models = arguments.get("models")
    if not isinstance(models, list) or not models:
        raise BadPlan(f"{models!r} is not a list of models", field=f"{WHERE}.models", hint="models: [a, b]")
    given = {key: value for key, value in arguments.items() if key != "models"}
    try:
        options = bind(NAME, params_of(_options), given)
    except ConsortError as error:
        raise error.within(WHERE) from None
    flow = DataFlow(tuple(opened(model) for model in models), **options)
    try:
        DataFlow(flow.models).checkpoint([1.0] * (len(flow.pool) // flow.repeats) + [0.0, 0.0])
    except Incompatible as error:
        error.field, error.hint = f"{WHERE}.models", "models of one architecture, width and vocabulary"
        raise
    depths = [sum(owner == model for owner, _ in flow.pool) // flow.repeats for model in range(len(models))]
    if flow.most and flow.most < depths[0]:
        hint = f"{depths[0]} or more, so that the search can start from {flow.models[0].name}; 0 is no bound"
        raise BadPlan(f"{flow.most} layers are too few", field=f"{WHERE}.most", hint=hint)
    return flow


def units_of(flow: DataFlow, labels: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Each model by itself as a path of the space, where it is short enough."""
    once = len(flow.pool) // flow.repeats
    found = {}
    for number, label in enumerate(labels):
        taken = [place < once and owner == number for place, (owner, _) in enumerate(flow.pool)]
        if not flow.most or sum(taken) <= flow.most:
            found[label] = (*(ON if own else OFF for own in taken), 0.0, 0.0)
    return found
