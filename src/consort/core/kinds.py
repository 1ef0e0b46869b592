"""Every registry there is, and what of a kind a name makes. A registry is found because it exists; no list names it.

A registry stands in a package's `__init__.py` or `registry.py`; those files import no torch.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from consort.core.errors import BadParameter, UnknownName, did_you_mean, shortened

REFERRED = ("checkpoint", "model", "adapter")
"""Types that a plain string is a reference of: a folder, `lab:NAME`, `hf:ORG/NAME`, ..."""


class Kind(ABC):
    """Names of one kind (see `core.registry.Registry`): what each makes is of the type `produces`."""

    kind: str
    produces: str
    formerly: str
    reference: str

    @abstractmethod
    def get(self, name: str) -> Any:
        """The object of that name. Raises UnknownName."""

    @abstractmethod
    def __iter__(self) -> Iterator[str]: ...

    @abstractmethod
    def __contains__(self, name: object) -> bool: ...


@cache
def kinds() -> tuple[Kind, ...]:
    """All registries, by kind."""
    top = Path(__file__).parents[1]
    found: dict[str, Kind] = {}
    for file in sorted([*top.rglob("__init__.py"), *top.rglob("registry.py")]):
        if "= Registry(" in file.read_text("utf-8"):
            parts = file.relative_to(top.parent).with_suffix("").parts
            module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
            found |= {v.kind: v for v in vars(module).values() if isinstance(v, Kind)}
    return tuple(found[kind] for kind in sorted(found))


def makers_of(produces: str) -> tuple[Kind, ...]:
    """The registries whose names make things of a type: "model", "drafter", "metric", ..."""
    return tuple(kind for kind in kinds() if kind.produces == produces)


def made(produces: str, value: Any, where: str) -> Any:
    """What `value` names, where it is a name or `{name: arguments}` of a kind; any other value as it is.

    Strings given for checkpoints and models are references, which plans open: they are left as they are. Raises
    UnknownName for a name that no registry of the kind has.
    """
    if produces in REFERRED or not isinstance(value, str | Mapping):
        return value
    makers = makers_of(produces)
    if not makers:
        return value
    name, arguments = named(value, where)
    registry, bare = find(name, makers, where)
    if bare is None:
        if isinstance(value, Mapping):
            raise UnknownName(f"no {registry.kind} named {name!r}", field=where, hint=did_you_mean(name, registry))
        return registry.get(registry.reference)(name)
    return registry.get(bare)(**arguments)


def check_referred(produces: str, value: Any, where: str) -> None:
    """Raises BadParameter for what is no model, or no checkpoint, at the place `where`: a reference is to be opened."""
    opens = {"model": "consort.model", "checkpoint": "consort.load"}.get(produces)
    if opens is None:
        return
    if isinstance(value, str | PurePath):
        raise BadParameter(f"{str(value)!r} is a reference", field=where, hint=f"{opens}({str(value)!r}) opens it")
    if value is None or isinstance(value, Mapping | bool | int | float | bytes):
        raise BadParameter(f"{value!r:.60} is no {produces}", field=where, hint=f"{opens}(…) opens one")
    if produces == "model" and hasattr(value, "spec") and not hasattr(value, "generate"):
        hint = "consort.model(checkpoint) opens it"
        raise BadParameter(f"{value!r} is a checkpoint", field=where, hint=hint)
    if produces == "checkpoint" and hasattr(value, "generate") and not hasattr(value, "spec"):
        raise BadParameter(f"{value!r} is a model at work", field=where, hint="consort.load(…) gives its weights")


def check_several_referred(produces: str, values: Any, where: str) -> None:
    """The same for a list of them."""
    if isinstance(values, str | PurePath | Mapping) or not isinstance(values, Iterable):
        raise BadParameter(
            f"{values!r:.60} is no list of {produces}s", field=where, hint=f"a list, even of one {produces}"
        )
    if isinstance(values, Sequence):
        for i, value in enumerate(values):
            check_referred(produces, value, f"{where}[{i}]")


def named(value: str | Mapping[str, Any], where: str) -> tuple[str, Mapping[str, Any]]:
    """The name and the arguments of an expression. Raises BadParameter for one that has not one key."""
    if isinstance(value, str):
        return value, {}
    if len(value) == 1:
        [(name, arguments)] = value.items()
        if arguments is None or isinstance(arguments, Mapping):
            return str(name), arguments or {}
    raise BadParameter(f"{value!r} is not a name with its arguments", field=where, hint="write {name: {parameter: …}}")


def find(name: str, among: Sequence[Kind], where: str) -> tuple[Kind, str | None]:
    """The registry of `among` that has `name` or `kind.name`, and the bare name.

    None in its place if nothing is so called, and a registry takes what is no name as a reference. Raises UnknownName.
    """
    kind, _, bare = name.rpartition(".")
    for registry in among:
        if kind in ("", registry.kind, registry.formerly) and bare in registry:
            return registry, bare
    for registry in among:
        if registry.reference:
            return registry, None
    known = [n for registry in among for n in registry]
    what = among[0].kind if len({r.kind for r in among}) == 1 else "method"
    raise UnknownName(f"no {what} named {shortened(name)!r}", field=where, hint=did_you_mean(bare, known))
