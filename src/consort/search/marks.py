"""Free coordinates in plain values: `{free: [low, high]}` where a number would stand.

`{free: [low, high], blocks: n}` stands for a coordinate for each of n blocks of layers and one for what lies outside
them. A coordinate may stand in several places: those of equal names are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from consort.core.errors import BadPlan, did_you_mean

KEY = "free"
BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Free:
    """A coordinate in [low, high]; `name` says where in the plan it stands, `block` to which layers it belongs."""

    name: str
    low: float
    high: float
    block: int | None = None


def is_mark(value: Any) -> bool:
    """Whether `value` marks a free coordinate."""
    return isinstance(value, Mapping) and KEY in value


def is_single(value: Any) -> bool:
    """Whether `value` marks one free coordinate, whatever the layer."""
    return is_mark(value) and BLOCKS not in value


def read_mark(value: Mapping[str, Any], where: str) -> Free:
    """The coordinate that a mark describes, its blocks aside. Raises BadPlan."""
    for key in value:
        if key not in (KEY, BLOCKS):
            raise BadPlan(f"unknown key {key!r}", field=f"{where}.{key}", hint=did_you_mean(str(key), (KEY, BLOCKS)))
    bounds = value[KEY]
    numbers = isinstance(bounds, Sequence) and not isinstance(bounds, str) and len(bounds) == 2
    if not numbers or not all(type(b) in (int, float) and isfinite(b) for b in bounds):
        raise BadPlan(f"{bounds!r} is no interval", field=f"{where}.{KEY}", hint="write {free: [0, 1]}")
    low, high = map(float, bounds)
    if low >= high:
        why = "both ends are the same" if low == high else "the lower end comes first"
        what = f"[{low:g}, {high:g}] is empty: {why}"
        raise BadPlan(what, field=f"{where}.{KEY}", hint="write {free: [0, 1]}, or the number itself")
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
    numbers = {free.name: float(x) for free, x in zip(coordinates(template), point, strict=True)}
    return map_tree(template, lambda free: numbers[free.name], lambda value: isinstance(value, Free))


def coordinates(template: Any) -> tuple[Free, ...]:
    """The free coordinates of a template, in order of their first places."""
    found: dict[str, Free] = {}
    map_tree(template, lambda free: found.setdefault(free.name, free), lambda value: isinstance(value, Free))
    return tuple(found.values())
