"""Laws of spaces: a box of points, each of which stands for one checkpoint, adapter or model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import isfinite
from typing import Any

import torch

from consort.core.errors import ConsortError, UnknownName
from consort.core.types import Sampling
from consort.search.spaces import spaces
from consort.testing.law import Law, applies
from consort.testing.planned import planned

KINDS = ("space",)
MAKES = ("checkpoint", "adapter", "model")
PROMPTS = ("abc", "b a")
NEAR = 1e-5


@cache
def space_of(name: str) -> Any:
    """The space as a plan makes it; twice the same one."""
    return planned(spaces, name)


def makes(name: str) -> str:
    """What a point of it is: the first of "checkpoint", "adapter" and "model" that it has a method for."""
    found = next((way for way in MAKES if hasattr(space_of(name), way)), "")
    assert found, "it makes nothing of a point: give it checkpoint(point), adapter(point) or model(point)"
    return found


def maker(name: str) -> Callable[[Sequence[float]], Any]:
    """From a point to what it stands for."""
    found: Callable[[Sequence[float]], Any] = getattr(space_of(name), makes(name))
    return found


def points_of(name: str) -> list[list[float]]:
    """The starts, at most three of them, and a point between the corners of the box."""
    domain = space_of(name).domain
    between = [low + 0.6 * (high - low) for low, high in zip(domain.low, domain.high, strict=True)]
    return [*(list(start) for start in list(domain.starts)[:3]), between]


def its_box_is_one(name: str) -> None:
    """Bounds in order, a name for each coordinate, starts of as many; inside the box where it is hard."""
    domain = space_of(name).domain
    assert domain.dim > 0 and len(domain.high) == domain.dim, "low and high are not of one length"
    assert all(isfinite(x) for x in (*domain.low, *domain.high)), "a bound is no finite number"
    assert all(low < high for low, high in zip(domain.low, domain.high, strict=True)), "low is not below high"
    assert len(domain.names) in (0, domain.dim) and len(set(domain.names)) == len(domain.names), f"{domain.names}"
    for start in (*domain.starts, *([domain.centre] if domain.centre else [])):
        assert len(start) == domain.dim, f"the start {start} is no point of {domain.dim} coordinates"
        inside = all(low <= x <= high for low, x, high in zip(domain.low, start, domain.high, strict=True))
        assert inside or not domain.hard, f"the start {start} is outside the box"


def points_are_models(name: str) -> None:
    """A point is a checkpoint whose tensors are finite, or a model that answers; made again it is the same."""
    for point in points_of(name):
        one, again = facts(maker(name)(point)), facts(maker(name)(point))
        assert one.keys() == again.keys() and all(_equal(one[key], again[key]) for key in one), f"{point} is two models"


def facts(made: Any) -> dict[str, Any]:
    """What can be compared of a checkpoint (its tensors) or of a model (what it answers)."""
    if hasattr(made, "spec"):
        tensors = {key: made[key] for key in made.keys()}
        assert all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point()), (
            "a tensor is not finite"
        )
        return tensors
    return {prompt: made.generate([prompt], Sampling(max_tokens=4))[0].text for prompt in PROMPTS}


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def units_are_the_models(name: str) -> None:
    """The points that `units` calls by models' names are these models."""
    space = space_of(name)
    applies(hasattr(space, "units") and makes(name) == "checkpoint", "it has no `units` that are checkpoints")
    models = {model.name: model for model in space.models}
    for label, point in space.units.items():
        merged = space.checkpoint(point)
        for key in merged.keys():
            torch.testing.assert_close(merged[key].float(), models[label][key].float(), atol=NEAR, rtol=NEAR)


def points_of_other_spaces_are_refused(name: str) -> None:
    """A point with a coordinate too many is refused, when it is made or when it is first read."""
    point = [*points_of(name)[0], 0.5]
    try:
        facts(maker(name)(point))
    except ConsortError:
        return
    raise AssertionError(f"{len(point)} numbers are taken for a point of {len(point) - 1} coordinates")


def points_are_plans(name: str) -> None:
    """What is found can be written as a plan, which gives the same plan again."""
    from consort.plan import build, parse, to_plan

    made = maker(name)(points_of(name)[-1])
    plan = to_plan(made)
    kind = "model" if makes(name) == "model" else "checkpoint"
    assert to_plan(build(parse(plan), kind)) == plan


def is_found_by_name(name: str) -> None:
    """A search plan that names the space reads it: a box with the same coordinates."""
    from consort.plan.search.plan import read_search
    from consort.testing.planned import arguments_of

    plan = read_search({"search": {"optimizer": "random", "space": {name: arguments_of(spaces, name)}}})
    if plan.space != name:
        raise UnknownName(f"the plan is of the space {plan.space}", field=name)
    domain = space_of(name).domain
    assert (plan.domain.dim, list(plan.domain.low)) == (domain.dim, list(domain.low)), "the plan's box is another"


LAWS: tuple[Law, ...] = (
    its_box_is_one,
    points_are_models,
    units_are_the_models,
    points_of_other_spaces_are_refused,
    points_are_plans,
    is_found_by_name,
)
