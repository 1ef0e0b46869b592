"""A parameter that differs by layer or by tensor: gradients over depth and rules by name.

In a plan, in the place of a value:

    {by_layer: [0, 0.3, 1]}                                   a gradient over the depth of the model
    {by_name: [{match: mlp, value: 0.3}, {value: 0.5}]}       the first rule that matches the name decides

A gradient of m values is read at s = t (m - 1), between its neighbours in proportion; truth values and words change in
steps, at floor(s). Layer j of n lies at t = j / (n - 1) (n = 1: t = 1), embeddings at 0, the final norm and the head at
1, or at `head: 0`. A rule matches a name that contains its text; one without `match`, or with "*", matches all; its
value may be a gradient. Where no rule matches, the parameter has its default; with `required: true` that is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

from consort.core.errors import BadParameter, ConsortError, did_you_mean

ALL = "*"
Check = Callable[[Any], Any]


class Unmatched:
    """What a schedule has for a name that none of its rules matches."""

    def __repr__(self) -> str:
        return "unmatched"


UNMATCHED = Unmatched()


@dataclass(frozen=True, slots=True)
class Gradient:
    """Values at equal distances over the depth; `head` is the depth of what comes after the last layer."""

    values: tuple[Any, ...]
    head: float = 1.0

    def at(self, name: str, depth: float | None) -> Any:
        """The value at `depth` in [0, 1], None for what comes after the last layer."""
        position = (self.head if depth is None else depth) * (len(self.values) - 1)
        low = floor(position)
        high = min(low + 1, len(self.values) - 1)
        first, second = self.values[low], self.values[high]
        if not isinstance(first, float) or not isinstance(second, float):
            return first
        part = position - low
        return (1 - part) * first + part * second

    def plain(self) -> dict[str, Any]:
        """The same as a plan writes it."""
        return {"by_layer": list(self.values)} | ({"head": self.head} if self.head != 1 else {})

    def leaves(self) -> Iterator[Any]:
        """Every value named."""
        yield from self.values


@dataclass(frozen=True, slots=True)
class Rule:
    """`value` for the names that contain `match`; for all names where that is "*"."""

    value: Any
    match: str = ALL

    def matches(self, name: str) -> bool:
        """Whether the rule is about a tensor of this name."""
        return self.match == ALL or self.match in name


@dataclass(frozen=True, slots=True)
class ByName:
    """Rules in order; the first that matches decides. `required`: one must match every tensor."""

    rules: tuple[Rule, ...]
    required: bool = False

    def at(self, name: str, depth: float | None) -> Any:
        value = next((rule.value for rule in self.rules if rule.matches(name)), UNMATCHED)
        return value.at(name, depth) if isinstance(value, Gradient) else value

    def plain(self) -> dict[str, Any]:
        rules = [({} if r.match == ALL else {"match": r.match}) | {"value": plain(r.value)} for r in self.rules]
        return {"by_name": rules} | ({"required": True} if self.required else {})

    def leaves(self) -> Iterator[Any]:
        for rule in self.rules:
            yield from rule.value.leaves() if isinstance(rule.value, Gradient) else (rule.value,)


Schedule = Gradient | ByName
FORMS = ("by_layer", "by_name")


def is_schedule(value: Any) -> bool:
    """Whether a plan's value is meant as a schedule."""
    return isinstance(value, Gradient | ByName | Mapping)


def read_schedule(value: Any, check: Check) -> Schedule:
    """The schedule that a plan writes so, every value in it checked by `check`. Raises BadParameter."""
    if isinstance(value, Gradient | ByName):
        return read_schedule(value.plain(), check)
    found = [form for form in FORMS if form in value]
    if len(found) != 1:
        unknown = next(iter(value), "by_name")
        hint = "write {by_layer: [0, 1]} or {by_name: [{match: mlp, value: 0.3}, {value: 0.5}]}"
        raise BadParameter("is neither a value nor a schedule", field=str(unknown), hint=hint)
    return _gradient(value, check) if found == ["by_layer"] else _by_name(value, check)


def _gradient(value: Mapping[str, Any], check: Check) -> Gradient:
    _only(value, ("by_layer", "head"))
    values = value["by_layer"]
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise BadParameter(f"{values!r} is not a list of values", field="by_layer", hint="e.g. by_layer: [0, 1]")
    head = value.get("head", 1)
    if isinstance(head, bool) or head not in (0, 1):
        hint = "1: final norm and head have the last value; 0: the first"
        raise BadParameter(f"{head!r} is neither 0 nor 1", field="head", hint=hint)
    return Gradient(tuple(_checked(v, f"by_layer[{i}]", check) for i, v in enumerate(values)), head)


def _by_name(value: Mapping[str, Any], check: Check) -> ByName:
    _only(value, ("by_name", "required"))
    rules, required = value["by_name"], value.get("required", False)
    if not isinstance(required, bool):
        raise BadParameter(f"{required!r} is not true or false", field="required", hint="true: no default")
    if not isinstance(rules, Sequence) or isinstance(rules, str) or not rules:
        hint = "e.g. by_name: [{match: mlp, value: 0.3}, {value: 0.5}]"
        raise BadParameter(f"{rules!r} is not a list of rules", field="by_name", hint=hint)
    return ByName(tuple(_rule(rule, f"by_name[{i}]", check) for i, rule in enumerate(rules)), required)


def _rule(rule: Any, where: str, check: Check) -> Rule:
    if not isinstance(rule, Mapping) or "value" not in rule:
        raise BadParameter(f"{rule!r} has no value", field=where, hint="e.g. {match: mlp, value: 0.3}")
    try:
        _only(rule, ("match", "value"))
        match = rule.get("match", ALL)
        if not isinstance(match, str) or not match:
            raise BadParameter(f"{match!r} is not a part of a name", field="match", hint="e.g. match: mlp")
        value = rule["value"]
        if isinstance(value, Mapping) and "by_layer" in value:
            return Rule(_gradient(value, check), match)
    except ConsortError as error:
        raise error.within(where) from None
    return Rule(_checked(value, f"{where}.value", check), match)


def _checked(value: Any, where: str, check: Check) -> Any:
    try:
        return check(value)
    except ConsortError as error:
        error.field = where
        raise


def _only(value: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in value:
        if key not in known:
            raise BadParameter(f"unknown key {key!r}", field=str(key), hint=did_you_mean(str(key), known))


def plain(value: Any) -> Any:
    """A value as a plan writes it: schedules as mappings, tuples as lists."""
    if isinstance(value, Gradient | ByName):
        return value.plain()
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


def value_at(value: Any, name: str, depth: float | None) -> Any:
    """What a parameter has for one tensor: the value itself, that of a schedule there, or UNMATCHED."""
    return value.at(name, depth) if isinstance(value, Gradient | ByName) else value


def texts(value: Any) -> list[str]:
    """The texts that the rules of a schedule look for in names."""
    return [rule.match for rule in value.rules if rule.match != ALL] if isinstance(value, ByName) else []
