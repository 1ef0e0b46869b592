"""The battery: every law that is about a kind, over one registered method, yours or consort's.

>>> [v.state for v in battery("swa") if v.law == "order_does_not_matter"]
['ok']
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from consort.core.catalogue import registries
from consort.core.errors import MissingExtra, UnknownName, did_you_mean
from consort.core.registry import Registry
from consort.testing.law import DoesNotApply, Law

State = Literal["ok", "broken", "does not apply"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one law; `why` says what is broken, or why the law does not apply."""

    kind: str
    name: str
    law: str
    state: State
    why: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.law}: {self.state}" + (f": {self.why}" if self.why else "")

    def as_dict(self) -> dict[str, str]:
        """The same as plain values, for JSON."""
        return asdict(self)


def battery(name: str) -> Iterator[Verdict]:
    """The verdicts over `name`, or `kind.name`, one after the other; of every kind that has the name.

    Raises UnknownName.
    """
    for registry, bare in subjects(name):
        for law in laws_of(registry):
            yield verdict(registry, bare, law)


def subjects(name: str) -> list[tuple[Registry[Any], str]]:
    """The registries that have a name, and the bare name. Raises UnknownName with a did-you-mean."""
    kind, _, bare = name.rpartition(".")
    found = [(r, bare) for r in registries() if kind in ("", r.kind, r.formerly) and bare in r]
    if not found:
        known = [one for registry in registries() for one in registry]
        raise UnknownName(f"no method named {name!r}", field=name, hint=did_you_mean(bare, known))
    return found


def laws_of(registry: Registry[Any]) -> tuple[Law, ...]:
    """The laws of a kind: those of everything registered, then its own."""
    from consort.testing import registered_laws

    common = [_of_registry(law, registry) for law in registered_laws.LAWS]
    own = [law for module in _modules() if registry.kind in module.KINDS for law in module.LAWS]
    return (*common, *own)


def verdict(registry: Registry[Any], name: str, law: Law) -> Verdict:
    """What comes of one law. What a law raises, of whatever class, is what is broken."""
    case = partial(Verdict, registry.kind, name, law.__name__)
    reason = dict(registry.entry(name).options.get("exempt", {})).get(law.__name__)
    if reason:
        return case("does not apply", reason)
    try:
        with _quiet():
            law(name)
    except DoesNotApply as reason_of_law:
        return case("does not apply", str(reason_of_law))
    except MissingExtra as missing:
        return case("does not apply", str(missing))
    except Exception as fault:
        return case("broken", _said(fault))
    return case("ok")


@contextmanager
def _quiet() -> Iterator[None]:
    """What a law provokes is no warning to the user."""
    logger = logging.getLogger("consort")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@cache
def _modules() -> tuple[Any, ...]:
    files = sorted(Path(__file__).parent.glob("*_laws.py"))
    modules = [import_module(f"{__package__}.{file.stem}") for file in files]
    return tuple(module for module in modules if hasattr(module, "KINDS"))


def _of_registry(law: Any, registry: Registry[Any]) -> Law:
    def of(name: str) -> None:
        law(registry, name)

    of.__name__ = law.__name__
    return of


def _said(fault: Exception) -> str:
    """The message, in one line; of an assertion without one the line that failed."""
    text = " ".join(str(fault).split())
    if not text:
        text = str(traceback.extract_tb(fault.__traceback__)[-1].line)
    return text if isinstance(fault, AssertionError) else f"{type(fault).__name__}: {text}"
