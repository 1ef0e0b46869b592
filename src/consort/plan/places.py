"""The folders and tables that plans name, looked for before anything is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from consort.core.errors import ConsortError, together
from consort.plan.expression import Call, Part, Plan, Reference
from consort.plan.references import check_place


def check_places(plans: Iterable[Plan]) -> None:
    """Raises one error that names all that is not there; what is not on this machine is not asked for."""
    faults: dict[str, ConsortError] = {}
    for text in dict.fromkeys(text for plan in plans for text in _named(plan.root)):
        try:
            check_place(text)
        except ConsortError as fault:
            faults[str(fault)] = fault
    if faults:
        raise together(faults.values())


def _named(value: Any) -> Iterator[str]:
    """Every reference in an expression, bases included."""
    if isinstance(value, Reference):
        yield value.text
        yield from [value.base] if value.base else []
    elif isinstance(value, Part):
        yield from _named(value.model)
    elif isinstance(value, Call | tuple):
        for inner in value.arguments.values() if isinstance(value, Call) else value:
            yield from _named(inner)
