"""The folders and tables that plans name, looked for before anything is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from consort.core.errors import BadData, ConsortError, together
from consort.models.cached.reference import split_file
from consort.models.remote.reference import split_reference
from consort.plan.expression import Call, Part, Plan, Reference
from consort.plan.references import HUB, TABLE, folder_of, is_remote, is_table


def check_places(plans: Iterable[Plan]) -> None:
    """Raises one error that names all that is not there; what is not on this machine is not asked for."""
    faults: dict[str, ConsortError] = {}
    for text in dict.fromkeys(text for plan in plans for text in _named(plan.root)):
        try:
            _check(text)
        except ConsortError as fault:
            faults[str(fault)] = fault
    if faults:
        raise together(faults.values())


def _check(text: str) -> None:
    if is_table(text):
        file, _ = split_file(text.removeprefix(TABLE).partition("#")[0])
        if file and not Path(file).is_file():
            raise BadData("no such file", field=file, hint="give a JSONL, JSON or CSV file of cached answers")
    elif is_remote(text):
        split_reference(text)
    elif not text.startswith(HUB):
        folder_of(text)


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
