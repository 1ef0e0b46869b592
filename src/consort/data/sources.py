"""Rows of a task, whatever file holds them: JSON lines, CSV with a header (commas, semicolons or tabs), Parquet."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from consort.core.errors import BadData, MissingExtra
from consort.core.files import machine_errors
from consort.core.separator import separator_of
from consort.data.rows import COLUMNS, MOST_LINE, Row, check_names, parse_row, read_lines

TABLES = (".csv", ".tsv")
PARQUET = (".parquet", ".pq")
LISTS = ("choices", "messages", "target")
"""Columns whose cells in a CSV file may be JSON lists."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row, its number (of its line, from 1), where it stands, and the bytes by which it is given to a split."""

    number: int
    row: Row
    where: str
    line: bytes


def read_rows(path: Path) -> Iterator[Found]:
    """The rows of a file by its suffix; anything but .csv, .tsv and .parquet is JSON lines. Raises BadData."""
    suffix = path.suffix.lower()
    if suffix in TABLES:
        yield from _read_csv(path)
    elif suffix in PARQUET:
        yield from _read_parquet(path)
    else:
        for number, line in read_lines(path):
            where = f"{path.name}:{number}"
            yield Found(number, parse_row(line, where), where, line)


def _found(number: int, row: Row, where: str) -> Found:
    """A row of a table: the line that it would be in a JSONL file decides its split."""
    known = {name: value for name, value in row.items() if value is not None}
    line = json.dumps(known, ensure_ascii=False, default=str).encode(errors="surrogatepass")
    return Found(number, {name: value for name, value in known.items() if name in COLUMNS}, where, line)


def _read_csv(path: Path) -> Iterator[Found]:
    lines = (_text(line, f"{path.name}:{number}") for number, line in read_lines(path, raw=True))
    first = next(lines, "")
    reader = csv.reader(chain([first], lines), delimiter=separator_of(first), strict=True)
    before, header = csv.field_size_limit(MOST_LINE), None
    try:
        start = 1
        for cells in reader:
            where, number, start = f"{path.name}:{start}", start, reader.line_num + 1
            if not any(cells):
                continue
            if header is None:
                header = _header(cells, where)
                continue
            if len(cells) != len(header):
                what = f"{len(cells)} cells under {len(header)} columns"
                raise BadData(what, field=where, hint="put texts with separators or line breaks in double quotes")
            yield _found(number, {name: _cell(name, cell) for name, cell in zip(header, cells, strict=True)}, where)
    except csv.Error as fault:
        place = f"{path.name}:{reader.line_num}"
        raise BadData(f"not CSV: {fault}", field=place, hint="double quotes around a text, doubled inside it") from None
    finally:
        csv.field_size_limit(before)


def _header(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in names:
        if names.count(name) > 1:
            raise BadData(f"the column {name!r} stands twice", field=where, hint="give each column its own name")
    check_names(dict.fromkeys(names), where)
    if not set(names) & set(COLUMNS):
        hint = f"the first line names the columns, of which are known: {', '.join(COLUMNS)}"
        raise BadData("no known column in the first line", field=where, hint=hint)
    return names


def _cell(name: str, cell: str) -> Any:
    """An empty cell is no value; lists are written as JSON; of targets a list of strings alone is read as one."""
    if cell == "":
        return None
    if name == "answer" and re.fullmatch(r"[0-9]{1,9}", cell.strip()):
        return int(cell)
    if name in LISTS and cell.lstrip().startswith("["):
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
        if name != "target" or all(isinstance(v, str) for v in value):
            return value
    return cell


def _text(line: bytes, where: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise BadData("not valid Unicode text", field=where, hint="save the file as UTF-8") from None


def _read_parquet(path: Path) -> Iterator[Found]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise BadData(what, field=str(path), hint="give the path of a Parquet file")
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as fault:
        hint = 'pip install "consort[tables]", or give the task as JSONL or CSV'
        raise MissingExtra(
            "pyarrow, which reads Parquet files, is not installed", field=str(path), hint=hint
        ) from fault
    number = 0
    try:
        with machine_errors(path), parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            check_names(dict.fromkeys(names), path.name)
            for batch in file.iter_batches(columns=[name for name in names if name in COLUMNS]):
                for row in batch.to_pylist():
                    number += 1
                    yield _found(number, _plain(row), f"{path.name}: row {number}")
    except arrow.ArrowException as fault:
        what = f"not a Parquet file: {str(fault).splitlines()[0]}"
        raise BadData(what, field=str(path), hint="write it again, or give the task as JSONL or CSV") from None


def _plain(row: Row) -> Row:
    """Messages without the fields that other rows have and this one has not."""
    messages = row.get("messages")
    if isinstance(messages, list) and all(isinstance(m, dict) for m in messages):
        row["messages"] = [{k: v for k, v in m.items() if v is not None} for m in messages]
    return row
