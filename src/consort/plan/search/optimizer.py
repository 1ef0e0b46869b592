"""The optimizer of a search plan: its own parameters, and what it asks of the space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consort.core.errors import BadPlan, ConsortError
from consort.core.params import NUMBERS, Param, bind
from consort.core.registry import Entry
from consort.search.optimizers import optimizers

WHERE = "search.optimizer"
GIVEN = ("domain", "seed")
"""What the search itself gives an optimizer."""


@dataclass(frozen=True, slots=True)
class Moved:
    """An optimizer by name, its checked parameters, and what it asks of the space, each with the key that says so."""

    name: str
    params: Mapping[str, Any]
    asked: Mapping[str, tuple[str, Any]]


def read_optimizer(value: Any) -> Moved:
    """`pso`, or `pso: {particles: 20}`. Raises ConsortError."""
    name, given = _spelled(value)
    try:
        entry = optimizers.entry(name)
    except ConsortError as error:
        error.field = f"{WHERE}.{name}"
        raise
    params = [p for p in entry.params if p.name not in GIVEN]
    own, asked = _told_apart(entry, given)
    flat = _flat(own, {p.plan_name: p for p in params})
    try:
        checked = bind(name, params, flat)
    except ConsortError as error:
        raise error.within(f"{WHERE}.{name}") from None
    return Moved(name, {p.name: checked[p.name] for p in params if p.plan_name in flat or p.name in flat}, asked)


def _spelled(value: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping) or len(value) != 1:
        raise BadPlan(f"{value!r} is no optimizer", field=WHERE, hint="pso, or pso: {particles: 20}")
    [(name, given)] = value.items()
    if given is not None and not isinstance(given, Mapping):
        hint = "write `pso: {particles: 20}`; docs/search.md lists the optimizers"
        raise BadPlan(f"{name} takes named arguments, not {given!r}", field=f"{WHERE}.{name}", hint=hint)
    return str(name), dict(given or {})


def _told_apart(entry: Entry, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[str, Any]]]:
    """The arguments, and the words among them that are asked of the space (the decorator's `asks`)."""
    own, asked = dict(given), {}
    for key, words in dict(entry.options.get("asks", {})).items():
        place, value = f"{WHERE}.{entry.name}.{key}", own.get(key)
        if isinstance(value, str) and value in words:
            asked[value] = (place, True)
            del own[key]
        if isinstance(value, Mapping):
            asked |= {word: (f"{place}.{word}", value[word]) for word in words if word in value}
            own[key] = {inner: v for inner, v in value.items() if inner not in words}
    return own, {word: (place, value) for word, (place, value) in asked.items() if value is not False}


def _flat(given: Mapping[str, Any], params: Mapping[str, Param]) -> dict[str, Any]:
    """`populate: {range: code}` as `populate_range: code`, and false as 0 where a number is wanted."""
    flat: dict[str, Any] = {}
    for key, value in given.items():
        nested = isinstance(value, Mapping) and any(name.startswith(f"{key}_") for name in params)
        flat.update({f"{key}_{inner}": v for inner, v in value.items()} if nested else {key: value})
    return {
        key: 0 if value is False and key in params and params[key].type in NUMBERS else value
        for key, value in flat.items()
    }
