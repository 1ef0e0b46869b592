"""Models that are not here as weights, written as mappings: {openai: NAME, url: …} and {table: FILE, column: …}."""

from __future__ import annotations

from typing import Any

from consort.models.cached import reference as tables
from consort.models.remote import reference as endpoints


def mapped_reference(value: Any, path: str) -> str:
    """The reference that such a mapping stands for, "" for any other value. Raises BadPlan, BadParameter."""
    for kind in (endpoints, tables):
        if kind.is_described(value):
            return str(kind.described(value, path))
    return ""
