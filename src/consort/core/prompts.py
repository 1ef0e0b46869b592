"""Lists of prompts, told from a single one: a string is a sequence too, of letters."""

from __future__ import annotations

from consort.core.errors import BadData


def check_list(prompts: object, field: str = "prompts", example: str = '["..."]') -> None:
    """Raise BadData for a text, or a mapping, where a list is wanted.

    >>> check_list(["a text"])
    """
    if isinstance(prompts, str | bytes | dict):
        kind = "text" if isinstance(prompts, str | bytes) else "mapping"
        raise BadData(f"is a single {kind}, where a list is wanted", field=field, hint=f"put it into a list: {example}")
