"""Free coordinates in plain values: `{free: [low, high]}` where a number would stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from consort.core.errors import BadPlan

KEY = "free"


@dataclass(frozen=True, slots=True)
class Free:
    """A coordinate in [low, high]; `name` says where in the plan it stands."""

    name: str
    low: float
    high: float


def is_mark(value: Any) -> bool:
    """Whether `value` marks a free coordinate."""
    return isinstance(value, Mapping) and set(value) == {KEY}


def read_mark(value: Mapping[str, Any], where: str) -> Free:
    """The coordinate that a mark describes. Raises BadPlan."""
    bounds = value[KEY]
    numbers = isinstance(bounds, Sequence) and not isinstance(bounds, str) and len(bounds) == 2
    if not numbers or not all(type(b) in (int, float) and isfinite(b) for b in bounds):
        raise BadPlan(f"{bounds!r} is no interval", field=f"{where}.{KEY}", hint="write {free: [0, 1]}")
    low, high = map(float, bounds)
    if low >= high:
        raise BadPlan(f"[{low:g}, {high:g}] has no room", field=f"{where}.{KEY}", hint="the lower end comes first")
    return Free(where, low, high)


def map_tree(value: Any, change: Callable[[Any], Any], stop: Callable[[Any], bool]) -> Any:
    """`value` with `change` applied where `stop` holds, mappings and lists rebuilt around it, in order."""
    if stop(value):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_tree(inner, change, stop) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [map_tree(inner, change, stop) for inner in value]
    return value


def filled(template: Any, point: Sequence[float]) -> Any:
    """`template` with its free coordinates, in order, replaced by numbers."""
    numbers: Iterator[float] = iter(point)
    return map_tree(template, lambda _: float(next(numbers)), lambda value: isinstance(value, Free))


def coordinates(template: Any) -> tuple[Free, ...]:
    """The free coordinates of a template, in order."""
    found: list[Free] = []
    map_tree(template, found.append, lambda value: isinstance(value, Free))
    return tuple(found)
