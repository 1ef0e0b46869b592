"""Laws of everything that is registered, whatever its kind: it is what its source declares, and holds to it.

A law takes a registry and a name of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import isclass
from math import isfinite
from typing import Any

from consort.core.errors import BadParameter
from consort.core.params import Param, name_of, params_of
from consort.core.registry import Registry
from consort.testing.law import applies

STRANGER = "no such choice"
NONSENSE = "nonsense"


def definition_of(registry: Registry[Any], name: str) -> Callable[..., Any]:
    """The class or function that is registered under a name."""
    module = import_module(registry.entry(name).module)
    found = (
        v for k, v in vars(module).items() if name_of(k) == name and getattr(v, "__module__", "") == module.__name__
    )
    made: Callable[..., Any] = next(found)
    return made


def source_and_signature_agree(registry: Registry[Any], name: str) -> None:
    """What is listed without importing the method is what Python is given; and it says in a line what it does."""
    registry.get(name)
    made, entry = definition_of(registry, name), registry.entry(name)
    inherits = isclass(made) and "__init__" not in vars(made) and made.__init__ is not object.__init__
    assert not inherits, "its constructor is inherited: write it out, since plans read it from source"
    live = params_of(made.__init__ if isclass(made) else made, positional=isclass(made))
    live = live if not isclass(made) or "__init__" in vars(made) else ()
    assert entry.params == live, f"listed are {entry.params}, Python takes {live}"
    assert entry.summary, "a line that says what it does is missing: the docstring's first"


def outside(param: Param) -> Iterator[Any]:
    """A value beyond each end of a declared range, and one that is none of the choices."""
    if param.choices:
        yield STRANGER
    if param.range:
        step = 1 if param.type == "int" else 0.5
        yield from (
            bound + side * step for bound, side in ((param.range.low, -1), (param.range.high, 1)) if isfinite(bound)
        )


def cases_outside(registry: Registry[Any], name: str) -> list[tuple[str, Any]]:
    """Every parameter that declares a range or choices, with each value outside, as one or in a list."""
    params = (*registry.inputs, *registry.entry(name).params)
    return [(p.name, [value] if p.many else value) for p in params for value in outside(p)]


def values_outside_are_refused(registry: Registry[Any], name: str) -> None:
    """A value outside a declared range or choice is a BadParameter that names the parameter, in Python too."""
    cases = cases_outside(registry, name)
    applies(cases, "it declares no range and no choice")
    for parameter, value in cases:
        refused(registry, name, parameter, value)


def unknown_parameters_are_named(registry: Registry[Any], name: str) -> None:
    """A parameter that there is not is a BadParameter that names it."""
    refused(registry, name, NONSENSE, 1)


def refused(registry: Registry[Any], name: str, parameter: str, value: Any) -> None:
    """Raises AssertionError unless the value is refused, as a BadParameter that names the parameter."""
    try:
        made(registry, name, {parameter: value})
    except BadParameter as error:
        said = [f"{fault.field} {fault.message}" for fault in (error.faults or (error,))]
        assert any(parameter.rstrip("_") in one for one in said), f"{parameter}={value!r} is refused as {said}"
        return
    except TypeError as error:
        raise AssertionError(f"{parameter}={value!r}: TypeError: {error}") from None
    raise AssertionError(f"{parameter}={value!r} is accepted")


def made(registry: Registry[Any], name: str, given: Mapping[str, Any]) -> Any:
    """What Python makes of a name and arguments; a merge, whose engine binds them, is one of small tensors."""
    if not registry.inputs:
        item = registry.get(name)
        applies(callable(item), "it is no constructor, and takes no arguments")
        return item(**given)
    from consort.testing import merge_laws

    method = registry.get(name)
    models, base = merge_laws.inputs(method)
    return merge_laws.merge(name, models, base=base, **{**merge_laws.arguments(method, {}), **given})


LAWS: tuple[Callable[[Registry[Any], str], None], ...] = (
    source_and_signature_agree,
    values_outside_are_refused,
    unknown_parameters_are_named,
)
"""Laws of a registry and a name."""
