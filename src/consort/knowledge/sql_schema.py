"""A schema as a model is shown it: tables as they would be created, keys, and a few rows as comments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consort.knowledge.sql_rows import Rows
from consort.knowledge.tables import Column, Table, quoted

SHOWN = 60
"""Letters of a value in a sample row."""


def rendered(tables: Sequence[Table], samples: int = 3) -> str:
    """CREATE TABLE statements, a sample of rows behind each.

    >>> columns = Column("a", "INTEGER", True), Column("b c", "", False, ("u", "id"))
    >>> print(rendered([Table("t", columns, ((1, "x"),))]))
    CREATE TABLE t (
      a INTEGER PRIMARY KEY,
      "b c" REFERENCES u(id)
    );
    -- a | b c
    -- 1 | x
    """
    return "\n".join(_table(table, samples) for table in tables)


def _table(table: Table, samples: int) -> str:
    keys = [column for column in table.columns if column.key]
    lines = [_column(column, alone=len(keys) == 1) for column in table.columns]
    if len(keys) > 1:
        lines.append(f"  PRIMARY KEY ({', '.join(_name(column.name) for column in keys)})")
    made = f"CREATE TABLE {_name(table.name)} (\n" + ",\n".join(lines) + "\n);"
    rows = Rows(tuple(c.name for c in table.columns), tuple(tuple(map(_short, row)) for row in table.rows[:samples]))
    shown = [f"-- {line}" for line in rows.text().split("\n")] if samples and rows.rows else []
    return "\n".join([made, *shown])


def _column(column: Column, *, alone: bool) -> str:
    parts = [_name(column.name), column.type, "PRIMARY KEY" if column.key and alone else ""]
    if column.refers:
        table, other = column.refers
        parts.append(f"REFERENCES {_name(table)}" + (f"({_name(other)})" if other else ""))
    return "  " + " ".join(part for part in parts if part)


def _name(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else quoted(name)


def _short(value: Any) -> Any:
    text = str(value)
    return value if value is None or len(text) <= SHOWN else text[:SHOWN] + "…"
