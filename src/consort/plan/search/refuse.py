"""A plan that leaves something to a search is run by `consort search`, by no other verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consort.core.errors import BadPlan
from consort.search.marks import KEY, is_mark

HINT = "run `consort search PLAN --task TASK --out DIR`; what it finds is a plan for every other verb"


def check_settled(document: Any) -> None:
    """Raises BadPlan for a plan with `search:`, or with `{free: [low, high]}` in the place of a number."""
    if isinstance(document, Mapping) and "search" in document:
        raise BadPlan("is a search, which has to find the numbers first", field="plan", hint=HINT)
    is_whole = isinstance(document, Mapping) and "plan" in document
    place = _free(document, "" if is_whole else "plan")
    if place is not None:
        what = "is left to a search, which has to find the number first"
        hint = f"write a number, or the expression under `search: {{optimizer: pso, space: …}}` and {HINT}"
        raise BadPlan(what, field=place, hint=hint)


def _free(value: Any, place: str) -> str | None:
    """Where the first free coordinate stands. An interval tells it from a model that is called `free`."""
    if is_mark(value) and isinstance(value[KEY], list):
        return place
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        found = _free(inner, f"{place}[{key}]" if isinstance(value, list) else f"{place}.{key}" if place else str(key))
        if found is not None:
            return found
    return None
