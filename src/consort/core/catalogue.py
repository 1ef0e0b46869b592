"""Every name a plan can use, over all registries; imports no method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from consort.core import kinds
from consort.core.errors import UnknownName, did_you_mean
from consort.core.params import Param
from consort.core.registry import Entry, Registry

EXPRESSED = ("checkpoint", "model")
"""What a whole plan may be."""


def registries() -> tuple[Registry[Any], ...]:
    """All registries, by kind."""
    return cast(tuple[Registry[Any], ...], kinds.kinds())


def makers(param_type: str) -> tuple[Registry[Any], ...]:
    """The registries whose names may stand where a signature asks for a type; a model may be made of a checkpoint."""
    wanted = EXPRESSED if param_type in kinds.REFERRED else (param_type,)
    return tuple(r for r in registries() if r.produces in wanted)


def is_expression(param: Param) -> bool:
    """Whether a plan gives this parameter as an expression: its type is of a kind."""
    return param.type == "slice" or bool(not param.is_plain and makers(param.type))


def find(name: str, among: Sequence[Registry[Any]] | None = None) -> tuple[Registry[Any], Entry]:
    """The registry of `among` (all, those of checkpoints and models first) that has `name` or `kind.name`; its entry.

    Raises UnknownName with a did-you-mean.
    """
    searched = registries() if among is None else among
    for registry in sorted(searched, key=lambda r: r.produces not in EXPRESSED):
        kind, _, bare = name.rpartition(".")
        if kind in ("", registry.kind, registry.formerly) and bare in registry:
            return registry, registry.entry(bare)
    known = [n for registry in searched for n in registry]
    raise UnknownName(f"no method named {name!r}", field=name, hint=did_you_mean(name.rpartition(".")[2], known))


def entries(kind: str | None = None) -> list[Entry]:
    """All entries, or those of one kind, by kind and name. Raises UnknownName for an unknown kind."""
    by_kind = {registry.kind: registry for registry in registries()}
    by_kind |= {registry.formerly: registry for registry in registries() if registry.formerly} if kind else {}
    if kind is not None and kind not in by_kind:
        raise UnknownName(f"no kind of method named {kind!r}", field="kind", hint=did_you_mean(kind, by_kind))
    chosen = [by_kind[kind]] if kind else [by_kind[k] for k in sorted(by_kind)]
    return [entry for registry in chosen for entry in registry.entries().values()]


def callable_names() -> dict[str, Registry[Any]]:
    """What `consort.NAME` may be: every checkpoint and model that has a name, and the registry that has it."""
    chosen = [registry for registry in registries() if registry.produces in EXPRESSED]
    return {name: registry for registry in reversed(chosen) for name in registry}
