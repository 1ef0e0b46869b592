"""What a search plan maximises: an expression of the kind utility.

    utility: {reward: {models: lab:reward, low: -3, high: 3}}

The shorter `utility: {reward: lab:reward, low: -3, high: 3}` is the same: what stands at the name is the utility's
first argument. A single model may stand where several can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consort.core.errors import BadPlan
from consort.core.registry import Entry
from consort.plan.expression import Call, parse_kind
from consort.search.utilities import utilities

WHERE = "search.utility"
HINT = "utility: {reward: {models: lab:reward}}, or leave it out for the task's own score"


def read_utility(value: Any, names: Mapping[str, Any]) -> Call:
    """The checked call of a utility; without one it is the task's own score. Raises ConsortError."""
    return parse_kind(_spelled(value) if value else "task", "utility", names, WHERE)


def _spelled(value: Any) -> Any:
    """The expression as `{name: arguments}`."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise BadPlan(f"{value!r} is no utility", field=WHERE, hint=HINT)
    heads = [key for key in value if key in utilities]
    if not heads and len(value) == 1:
        return value
    if len(heads) != 1:
        known = ", ".join(utilities)
        raise BadPlan(f"names {len(heads)} utilities of {known}", field=WHERE, hint=HINT)
    [name] = heads
    entry, given = utilities.entry(name), value[name]
    rest = {key: inner for key, inner in value.items() if key != name}
    known_names = {p.plan_name for p in entry.params}
    whole = not rest and (given is None or (isinstance(given, Mapping) and set(given) <= known_names))
    first = next((p.plan_name for p in entry.params), "")
    arguments = dict(given or {}) if whole else {first: given, **rest}
    return {name: _listed(entry, arguments)}


def _listed(entry: Entry, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, a single expression where several can be being a list of one."""
    several = {p.plan_name for p in entry.params if p.many and not p.is_plain}
    return {
        key: [value] if key in several and not isinstance(value, list | tuple) else value
        for key, value in arguments.items()
    }
