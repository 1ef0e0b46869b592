"""Where two runs differ, said place by place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MOST_NAMED = 6
"""Differences that are named one by one."""
LONGEST = 60
"""Characters of a value that are shown."""


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Where two plain values differ, as "place: old -> new", in order.

    >>> differences({"budget": 8, "base": None}, {"budget": 40, "base": "lab:base"})
    ['budget: 8 -> 40', 'base: nothing -> lab:base']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        inner = (differences(old.get(k), new.get(k), f"{place}.{k}" if place else str(k)) for k in keys)
        return [line for lines in inner for line in lines]
    return [] if old == new else [f"{place}: {_short(old)} -> {_short(new)}"]


def named_differences(old: Any, new: Any) -> str:
    """The first differences in one line, and how many more there are."""
    found = differences(old, new)
    more = f"; {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return "; ".join(found[:MOST_NAMED]) + more


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping as JSON gives it back, so that it can be compared with what was written."""
    found: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return found


def _short(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
