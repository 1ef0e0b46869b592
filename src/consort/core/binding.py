"""Signatures that hold: a registered constructor checks what it is given against what it declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import PurePath
from typing import Any, TypeVar

from consort.core.errors import BadParameter, ConsortError, did_you_mean, together
from consort.core.kinds import check_referred, check_several_referred, made
from consort.core.params import REQUIRED, Param, check, params_of

D = TypeVar("D", bound=Callable[..., Any])


def bound(definition: D, owner: str) -> D:
    """The class or function `owner`, whose arguments are checked against their declared types, ranges and choices.

    An argument whose type is a kind (a drafter, a metric, ...) may be given by name or as `{name: {parameter: value}}`.
    Raises BadParameter, which names all faults where there are several, before the constructor begins.
    """
    if not inspect.isclass(definition):
        return _checked(definition, owner)  # type: ignore[return-value]
    own = _takes_nothing if definition.__init__ is object.__init__ else vars(definition).get("__init__")
    if own:
        setattr(definition, "__init__", _checked(own, owner))  # noqa: B010  (typed as final)
    if "__repr__" not in vars(definition) and definition.__repr__ is object.__repr__:
        setattr(definition, "__repr__", described)  # noqa: B010
    return definition


def _takes_nothing(self: Any) -> None:
    """The constructor of a class that has none."""


def described(self: Any) -> str:
    """How an object with a `name` shows itself; to be put in a class as its `__repr__`."""
    return f"<consort {getattr(self, 'name', type(self).__name__)}>"


def _checked(function: Callable[..., Any], owner: str) -> Callable[..., Any]:
    signature = inspect.signature(function)
    declared: dict[str, Param] = {}

    @wraps(function)
    def checked(*arguments: Any, **named: Any) -> Any:
        if not declared:
            declared.update((p.name, p) for p in params_of(function, positional=True))
        unknown = named.keys() - signature.parameters.keys()
        if unknown and not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            raise _unknown(owner, sorted(unknown), declared)
        given = signature.bind_partial(*arguments, **named)
        given.arguments.update(_settled(declared, given.arguments))
        return function(*given.args, **given.kwargs)

    return checked


def _unknown(owner: str, names: Sequence[str], declared: Mapping[str, Param]) -> ConsortError:
    known = [p.name for p in declared.values()]
    return together(
        BadParameter(f"{owner} has no parameter {name!r}", field=name, hint=did_you_mean(name, known)) for name in names
    )


def _settled(declared: Mapping[str, Param], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values of declared parameters, checked, a kind's made of its name; all faults in one error."""
    settled, faults = {}, []
    for name, value in given.items():
        if name in declared and value is not declared[name].default:
            try:
                settled[name] = _value(declared[name], value)
            except ConsortError as fault:
                faults.append(fault)
    if faults:
        raise together(faults)
    return settled


def _check_place(p: Param, value: Any) -> None:
    """A folder given for the one checkpoint that a judge or a detector reads is opened there."""
    if p.many:
        check_several_referred(p.type, value, p.plan_name)
    elif p.type == "model" or not isinstance(value, str | PurePath):
        check_referred(p.type, value, p.plan_name)


def _value(p: Param, value: Any) -> Any:
    if p.type in ("model", "checkpoint") and not (value is None and (p.optional or p.default is None)):
        _check_place(p, value)
    if value is None and (p.optional or p.default is None or p.default is REQUIRED):
        return value
    several = isinstance(value, Sequence) and not isinstance(value, str)
    if not p.is_plain:
        if p.many and several and any(isinstance(one, str | Mapping) for one in value):
            return [made(p.type, one, f"{p.plan_name}[{i}]") for i, one in enumerate(value)]
        return made(p.type, value, p.plan_name)
    if p.many and not several:
        raise BadParameter(f"{value!r} is not a list", field=p.plan_name, hint=f"{p.plan_name}: {p.describe()}")
    for one in value if several and (p.many or p.per_model) else [value]:
        check(p, one)
    return value
