"""Tables in CSV files as tables of SQLite."""

from __future__ import annotations

import csv
import re
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from consort.core.counted import counted
from consort.core.errors import BadData
from consort.core.separator import separator_of
from consort.knowledge.tables import quoted

WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")
REAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")
MOST_DIGITS = 17
"""Digits of a number that are kept; longer ones are text."""


def load_csv(file: Path, connection: sqlite3.Connection, present: datetime) -> None:
    """A file with a line of names, apart by commas, semicolons or tabs; empty lines are passed by.

    A column is of numbers where all its values are, as numbers are written: what begins with a zero is none.
    """
    names, rows = _table_in(file)
    types = [_type_of([row[i] for row in rows]) for i in range(len(names))]
    columns = ", ".join(f"{quoted(name)} {type_}" for name, type_ in zip(names, types, strict=True))
    connection.execute(f"CREATE TABLE {quoted(file.stem)} ({columns})")
    values = ([None if value == "" else value for value in row] for row in rows)
    connection.executemany(f"INSERT INTO {quoted(file.stem)} VALUES ({', '.join('?' * len(names))})", values)


def _table_in(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
            lines.seek(0)
            reader = csv.reader(lines, delimiter=separator_of(first), strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
        names = rows.pop(0)[1]
    except (IndexError, csv.Error, UnicodeDecodeError):
        raise BadData("is no table", field=str(file), hint="a line of names, then rows, in UTF-8") from None
    if not all(names) or len({name.lower() for name in names}) < len(names):
        raise BadData("has columns without a name of their own", field=f"{file}:1", hint="a name for each column")
    for line, row in rows:
        if len(row) != len(names):
            what = f"has {counted(len(row), 'value')}, its names are {len(names)}"
            raise BadData(what, field=f"{file}:{line}", hint="one value for each name")
    return names, [row for _, row in rows]


def _type_of(values: Sequence[str]) -> str:
    given = [value for value in values if value]
    if all(WHOLE.fullmatch(value) for value in given):
        return "INTEGER"
    is_real = all(REAL.fullmatch(value) and sum(map(str.isdigit, value)) <= MOST_DIGITS for value in given)
    return "REAL" if is_real else "TEXT"
