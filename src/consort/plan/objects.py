"""From objects back to the plan that describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consort.core.errors import Unsupported
from consort.core.params import REQUIRED, Param, name_of
from consort.core.registry import Registry
from consort.core.schedule import plain
from consort.plan.kinds import is_expression, registries
from consort.plan.references import reference_of


def to_plan(value: Any) -> Any:
    """The expression (plain YAML values) of a checkpoint or model made by consort; parse and build give it again.

    Strategies keep their arguments under the parameters' own names, so no strategy needs code for this. Raises
    Unsupported for objects that no plan can name (tensors in memory, fakes).

    >>> import consort
    >>> models = [consort.load("lab:mirror"), consort.load("lab:order")]
    >>> consort.to_plan(consort.merge("linear", models, weight=[0.7, 0.3]))
    {'linear': {'models': ['lab:mirror', 'lab:order'], 'weight': [0.7, 0.3]}}
    """
    found = _registered(value)
    if found:
        registry, name = found
        entry = registry.entry(name)
        params = (*registry.inputs, *entry.params)
        given = getattr(value, "params", {}) if registry.kind == "merge" else {}
        arguments = {p.plan_name: _argument(p, _held(value, given, p)) for p in params}
        return {name: {key: v for key, v in arguments.items() if v is not None}}
    if getattr(value, "source", None) is not None:
        described = reference_of(value.source) if isinstance(value.source, str | Path) else to_plan(value.source)
        options = {"tokenizer": value.tokenizer_choice} if value.tokenizer_choice else {}
        placed = getattr(value, "placement", None)  # endpoints and tables of answers are held nowhere
        return _with_options(described, options | (placed.to_json() if placed else {}))
    if getattr(value, "path", None) is not None:
        return reference_of(value.path)
    paths = [getattr(getattr(value, name, None), "path", None) for name in ("adapter", "base")]
    adapter, base = (None if path is None else reference_of(path) for path in paths)
    if adapter and base:
        return {"hf": adapter, "base": base}
    raise Unsupported(f"{getattr(value, 'name', value)!r} is not from a plan", hint="save it to a folder first")


def _with_options(described: Any, options: dict[str, Any]) -> Any:
    """A reference with how its model is held; a computed checkpoint has no place for that in a plan."""
    if not options:
        return described
    folder = {"hf": described} if isinstance(described, str) else described
    if "hf" not in folder:
        hint = "save it to a folder first, or say dtype and device where the plan is run"
        raise Unsupported(f"{next(iter(options))} is not said of merges in a plan", hint=hint)
    return {**folder, **options}


def _registered(value: Any) -> tuple[Registry[Any], str] | None:
    """The registry and name that `value` was made by: a merge says its method, a strategy is its class."""
    method, own = getattr(value, "method", None), name_of(type(value).__name__)
    for registry in registries():
        if registry.kind == "merge" and isinstance(method, str) and method in registry:
            return registry, method
        if registry.kind != "merge" and own in registry and registry.get(own) is type(value):
            return registry, own
    return None


def _held(value: Any, given: Any, param: Param) -> Any:
    """What an object was made with; the dtype of a merge's output by name."""
    if param.name in given:
        return given[param.name]
    held = getattr(value, param.name, None)
    if param.name == "dtype":
        held = getattr(value, "out_dtype", None) or held
        return None if held is None else str(held).removeprefix("torch.")
    return held


def _argument(param: Param, held: Any) -> Any:
    """None for what is absent or the default, so that plans stay short."""
    if held is None:
        return None
    if param.type == "slice":
        return [{"model": to_plan(part.model), "layers": list(part.layers)} for part in held]
    if is_expression(param):
        return [to_plan(v) for v in held] if param.many else to_plan(held)
    if param.default is not REQUIRED and held == param.default:
        return None
    if isinstance(held, tuple | list) and param.per_model and all(v == held[0] for v in held):
        held = held[0]
    return plain(held)
