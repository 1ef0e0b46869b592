"""What paths, plans and files show is refused before a verb imports anything heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

NAMES = ("system", "systems", "model", "models", "plan", "base")
"""Arguments of verbs that name plans or models."""


def early(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, which looks first at what its plans, models and task are. Raises ConsortError."""

    @wraps(verb)
    def run(*positional: Any, **arguments: Any) -> None:
        look(arguments)
        verb(*positional, **arguments)

    return run


def look(arguments: dict[str, Any]) -> None:
    """Raise what can be known of the arguments of a verb without opening them; standard input is left alone."""
    from consort.plan.expression import read_plan
    from consort.plan.places import check_places
    from consort.plan.search.plan import read_search

    plans = []
    for text in _texts(arguments, NAMES):
        if (document := _search_in(text)) is not None:
            found = read_search(document)
            plans += [found.plan_of(expression) for expression in (*found.experts, found.base) if expression]
        else:
            plans.append(read_plan(text))
    check_places(plans)
    for text in _texts(arguments, ("task",)):
        _look_at_task(text, bool(arguments.get("allow_task_code")))


def _texts(arguments: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        value = arguments.get(name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text not in ("", "-"):
                yield text


def _search_in(text: str) -> Mapping[str, Any] | None:
    """The document of a plan file that describes a search."""
    from consort.data.yaml import load_documents
    from consort.plan.search.plan import is_search

    if not text.endswith((".yml", ".yaml")):
        return None
    documents = load_documents(Path(text))
    return documents[0] if len(documents) == 1 and is_search(documents[0]) else None


def _look_at_task(text: str, allow_code: bool) -> None:
    """A task that is not there is refused by whoever reads tasks."""
    from consort.plan.references import is_table, open_task, task_path

    if not is_table(text) and ":" not in text and not task_path(text).exists():
        open_task(text, allow_code=allow_code)
