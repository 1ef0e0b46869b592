"""What a verb prints: one JSON document, JSON lines, or a table."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import combining, east_asian_width

from consort.core.visible import in_json, visible


def print_json(value: Any) -> None:
    """One document on one line of its own; NaN is refused, because it is not JSON."""
    print(in_json(json.dumps(value, ensure_ascii=False, allow_nan=False)))


def print_results(folder: Path) -> None:
    """The results.json of a run folder."""
    print_json(json.loads((folder / "results.json").read_text("utf-8")))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", numbers: bool = True
) -> None:
    """Aligned columns; with `numbers` all but the first to the right. Lines are cut to a terminal, never when piped."""
    columns, rows, title = list(map(visible, columns)), [list(map(visible, row)) for row in rows], visible(title)
    if not sys.stdout.isatty():
        print(plain_table(columns, rows, title=title, numbers=numbers))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns[:1], title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns[1:]:
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table, crop=True)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", numbers: bool = True) -> str:
    """The table as text, without the library that draws it on terminals, which takes as long to load as all else.

    >>> print(plain_table(["name", "score"], [["a", "0.5"], ["long one", "12.25"]]))
    name      score
    ───────────────
    a           0.5
    long one  12.25
    """
    cells = [[one_line(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(wide, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(_padded(*cell, numbers) for cell in zip(row, widths, range(len(row)), strict=True)) for row in cells
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    head, *body = (line.rstrip() for line in lines)
    return "\n".join([*([title] if title else []), head, rule, *body])


def _padded(cell: str, width: int, place: int, numbers: bool) -> str:
    space = " " * (width - wide(cell))
    return space + cell if numbers and place else cell + space


def wide(text: str) -> int:
    """Columns of a terminal that a text takes: two for wide characters, none for marks that join another."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


class Warnings(logging.Handler):
    """Keeps what is logged, to be told at the end of a run and in its JSON."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a record."""
        self.messages.append(record.getMessage())

    def told(self) -> list[str]:
        """The texts so far, each once and in one line."""
        return list(dict.fromkeys(map(one_line, self.messages)))


def warnings_so_far() -> list[str]:
    """What the log has warned of in this run."""
    handlers = logging.getLogger("consort").handlers
    return [text for handler in handlers if isinstance(handler, Warnings) for text in handler.told()]


def one_line(text: str) -> str:
    """Text without line breaks, made visible; of a word of over 500 characters, such as a number, the beginning."""
    return visible(" ".join(re.sub(r"\S{500,}", lambda word: f"{word[0][:60]}…", text).split()))


def note(text: str) -> None:
    """A line for the person at the terminal; stderr."""
    print(visible(text), file=sys.stderr)


def result(text: object, end: str = "\n") -> None:
    """A result: as it is for the next program, made visible for a person at a terminal."""
    print(visible(str(text)) if sys.stdout.isatty() else text, end=end, flush=True)
