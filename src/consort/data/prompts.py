"""Files of prompts and of pairs to score: JSON lines, checked, with the line number in every error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from consort.core.errors import BadData
from consort.core.types import Prompt
from consort.data.rows import example_of, parse_object, parse_row, read_lines

T = TypeVar("T")


def load_prompts(path: Path) -> list[Prompt]:
    """The prompts of lines `{"prompt": str}` or `{"messages": [...]}`, in order. Raises BadData."""
    found: list[Prompt] = []
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        example = example_of(parse_row(line, where), where, number)
        if example.prompt is None and example.messages is None:
            raise BadData("no prompt", field=where, hint='write {"prompt": "…"} or {"messages": […]}')
        found.append(example.prompt if example.prompt is not None else list(example.messages or ()))
    return _not_empty(found, path)


def load_pairs(path: Path) -> list[tuple[str, str]]:
    """The pairs of lines `{"context": str, "continuation": str}`, in order. Raises BadData."""
    hint = 'write {"context": "…", "continuation": "…"}'
    found = []
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        row = parse_object(line, where)
        found.append((_text(row, "context", where, hint), _text(row, "continuation", where, hint)))
    return _not_empty(found, path)


def _text(row: dict[str, Any], column: str, where: str, hint: str) -> str:
    if not isinstance(row.get(column), str):
        raise BadData(f"no text in {column!r}", field=where, hint=hint)
    return str(row[column])


def _not_empty(found: list[T], path: Path) -> list[T]:
    if not found:
        raise BadData("no lines", field=str(path), hint="give at least one line")
    return found
