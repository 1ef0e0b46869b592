"""mergekit's parameters, as parameters of a consort merge: scopes laid over each other, gradients, filters.

A value is looked up in the source, the output slice, the module, the whole file; where filters match in none of them,
mergekit's default holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consort.core.errors import BadPlan, ConsortError, did_you_mean
from consort.core.params import Param, check, written_number
from consort.plan.mergekit.methods import IGNORED, Method, elsewhere

Scopes = Sequence[tuple[Mapping[str, Any], str]]
"""Blocks of parameters with their places, the one that goes first at the front."""
Rules = list[dict[str, Any]]
SCALARS = (bool, int, float, str)


def check_names(
    method: Method, block: Mapping[str, Any], where: str, of_input: bool, faults: list[ConsortError]
) -> list[str]:
    """Finds parameters that nothing reads; returns notes on those that mergekit knows."""
    notes = []
    for name, value in block.items():
        place = f"{where}parameters.{name}"
        if name in method.params:
            if of_input and not method.params[name].per_model:
                hint = "move it to the parameters of the slice or of the file"
                faults.append(BadPlan(f"{name} is one for all models", field=place, hint=hint))
        elif name == "rescale" and name in method.extra and method.name != "task_arithmetic":
            if value is not False:
                hint = "rescale: false, or ties, dare_ties or della"
                faults.append(BadPlan(f"{method.name} cannot rescale", field=place, hint=hint))
        elif name not in IGNORED and elsewhere(name):
            notes.append(f"{place} has no effect with {method.name}")
        elif name not in IGNORED:
            hint = did_you_mean(name, [*method.params, *IGNORED])
            faults.append(BadPlan(f"{method.name} has no parameter {name!r}", field=place, hint=hint))
    return notes


def arguments(
    method: Method, shared: Scopes, of_inputs: Sequence[Scopes], faults: list[ConsortError]
) -> dict[str, Any]:
    """The arguments of a call of `method`: parameters of each input as a list where the inputs differ."""
    found = {}
    for name, param in method.params.items():
        scopes = of_inputs if param.per_model else [shared]
        values = [_setting(method, param, name, one, faults) for one in scopes]
        value = values[0] if all(v == values[0] for v in values) else values
        if value is not None:
            found[name] = value
    return found | {key: value for key, value in method.defaults.items() if key in method.foreign}


def _setting(method: Method, param: Param, name: str, scopes: Scopes, faults: list[ConsortError]) -> Any:
    """The value or schedule of one parameter; None where consort's default is meant."""
    rules: Rules = []
    where = ""
    for block, where in scopes:
        if name in block:
            rules += _rules(param, block[name], f"{where}parameters.{name}", faults)
            if rules and "match" not in rules[-1]:
                break
    else:
        if method.required(name):
            if not rules:
                hint = f"{name}: {param.describe()}"
                place = f"{where}parameters.{name}"
                faults.append(BadPlan(f"{method.name} needs {name}", field=place, hint=hint))
            return {"by_name": rules, "required": True} if rules else None
        elif name in method.defaults:
            rules.append({"value": _written(param, method.defaults[name])})
        elif rules:
            rules.append({"value": param.default})
    if not rules:
        return None
    return rules[0]["value"] if len(rules) == 1 and "match" not in rules[0] else {"by_name": rules}


def _rules(param: Param, setting: Any, where: str, faults: list[ConsortError]) -> Rules:
    """A setting as rules; none follows one that matches all names."""
    if isinstance(setting, Mapping):
        setting = [setting]
    if not (isinstance(setting, list) and setting and all(isinstance(e, Mapping) for e in setting)):
        return [{"value": _value(param, setting, where, faults)}]
    rules: Rules = []
    for i, entry in enumerate(setting):
        place = f"{where}[{i}]"
        for key in entry:
            if key not in ("filter", "value"):
                hint = did_you_mean(str(key), ("filter", "value"))
                faults.append(BadPlan(f"unknown key {key!r}", field=f"{place}.{key}", hint=hint))
        if "value" not in entry:
            faults.append(BadPlan("has no value", field=place, hint="{filter: mlp, value: 0.5}"))
            continue
        value, match = _value(param, entry["value"], f"{place}.value", faults), entry.get("filter")
        if match is not None and not isinstance(match, str):
            faults.append(BadPlan(f"{match!r} is no text", field=f"{place}.filter", hint="filter: mlp"))
        if match in (None, "*", ""):
            return [*rules, {"value": value}]
        rules.append({"match": match, "value": value})
    return rules


def _value(param: Param, value: Any, where: str, faults: list[ConsortError]) -> Any:
    """A scalar, or a gradient; mergekit reads gradients of the final norm and the head at their beginning."""
    if not isinstance(value, list):
        return _scalar(param, value, where, faults)
    if not value:
        faults.append(BadPlan("the list is empty", field=where, hint=f"give {param.describe()}"))
    return {"by_layer": [_scalar(param, v, f"{where}[{i}]", faults) for i, v in enumerate(value)], "head": 0}


def _scalar(param: Param, value: Any, where: str, faults: list[ConsortError]) -> Any:
    try:
        return _written(param, check(param, written_number(param, value)))
    except ConsortError as fault:
        fault.field = where
        faults.append(fault)
        return param.default


def _written(param: Param, value: Any) -> Any:
    """The value as consort writes it: `rescale: true` is l1."""
    if param.name == "rescale":
        return "l1" if value else "none"
    return value


def split_gradients(value: Any) -> bool:
    """Whether the final norm and the head get another value in mergekit than in consort: from a gradient for them."""
    if isinstance(value, list):
        return any(map(split_gradients, value))
    if not isinstance(value, Mapping):
        return False
    if "by_layer" in value:
        return bool(value["by_layer"][:1] != value["by_layer"][-1:])
    return any(split_gradients(rule["value"]) for rule in value["by_name"] if _reaches_head(rule.get("match")))


def _reaches_head(match: str | None) -> bool:
    return match is None or any(match in name for name in ("lm_head.weight", "model.norm.weight"))
