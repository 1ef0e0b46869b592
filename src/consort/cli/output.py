"""What a verb prints: one JSON document, JSON lines, or a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def print_json(value: Any) -> None:
    """One document on one line of its own; NaN is refused, because it is not JSON."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_results(folder: Path) -> None:
    """The results.json of a run folder."""
    print_json(json.loads((folder / "results.json").read_text("utf-8")))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", numbers: bool = True
) -> None:
    """Aligned columns; with `numbers` all but the first to the right. Lines are never cut when piped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns[:1], title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns[1:]:
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not sys.stdout.isatty():
        console.width = 400
    console.print(table, crop=sys.stdout.isatty())


def note(text: str) -> None:
    """A line for the person at the terminal; stderr."""
    print(text, file=sys.stderr)
