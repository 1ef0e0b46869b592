"""The rows of a table's file as they stand: JSON lines, a JSON list or CSV, plain or gzipped, read row by row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

from consort.core.counted import counted
from consort.core.errors import BadData
from consort.core.files import machine_errors
from consort.core.separator import separator_of
from consort.data.rows import HEAD, TABLES, check_text, json_fault, lines_of, parse_object

DECIMAL_COMMA = re.compile(r"^(-?\d+),(\d+)$")
"""A number as it is written where semicolons stand between cells."""

MAX_FILE = 2**31
"""Largest file, in bytes, that is read as a table."""

MAX_LIST = 2**29
"""Largest JSON list, in bytes: it is read as one; JSON lines and CSV are read row by row."""

OPENING, NEXT = re.compile(r"\s*\[\s*(\])?"), re.compile(r"\s*([,\]])\s*")
Raw = tuple[int, Mapping[str, Any]]


def raw_rows(path: Path, is_text: Callable[[str], bool]) -> Iterator[Raw]:
    """Number of the line (of CSV: of the row, the header being the first) and columns of each row. Raises BadData.

    Numbers with a decimal comma, where semicolons stand between cells, get a point; `is_text` names columns of texts.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise BadData(what, field=str(path), hint="give a JSONL, JSON or CSV file of cached answers")
    if path.stat().st_size > MAX_FILE:
        what = f"has more than {MAX_FILE} bytes"
        raise BadData(what, field=str(path), hint="cut it into several tables")
    with _opened(path) as file:
        head: bytes = file.peek(HEAD)
        check_text(head[:HEAD], str(path))
        if {".csv", ".tsv"}.intersection(path.suffixes):
            yield from _csv_rows(path, file, is_text)
        elif head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            yield from _listed_rows(path, _whole(path, file))
        else:
            for number, line in lines_of(file, str(path)):
                yield number, parse_object(line, f"{path}:{number}", TABLES)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with machine_errors(path), io.BufferedReader(io.FileIO(path), HEAD) as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as packed, io.BufferedReader(packed, HEAD) as unpacked:
                    yield unpacked
            else:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BadData("is a damaged gzip file", field=str(path), hint="fetch or pack it again") from None
    except UnicodeError:
        raise BadData("is not UTF-8 text", field=str(path), hint="save the file as UTF-8") from None


def _whole(path: Path, file: IO[bytes]) -> str:
    content = file.read(MAX_LIST + 1)
    if len(content) > MAX_LIST:
        raise BadData(f"is a list of more than {MAX_LIST} bytes", field=str(path), hint="write one row a line (JSONL)")
    return content.decode("utf-8-sig")


def _csv_rows(path: Path, file: IO[bytes], is_text: Callable[[str], bool]) -> Iterator[Raw]:
    csv.field_size_limit(2**31 - 1)
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        first = text.readline()
        separator = separator_of(first)
        reader = csv.reader(chain([first], text), delimiter=separator, strict=True)
        names = next(reader, [])
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise BadData(f"the column {twice!r} stands twice", field=str(path), hint="name each column once")
        for number, cells in enumerate(filter(None, reader), 2):
            if len(cells) != len(names):
                columns = counted(len(names), "column")
                hint = f"quote cells that hold separators or line breaks; the first line has {columns}"
                raise BadData("has more or fewer cells than the first line", field=f"{path}:{number}", hint=hint)
            row = {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}
            if separator == ";":
                row = {n: cell if is_text(n) else DECIMAL_COMMA.sub(r"\1.\2", cell) for n, cell in row.items()}
            yield number, row
    except csv.Error as fault:
        raise BadData(f"not CSV: {fault}", field=f"{path}:{reader.line_num}", hint="quote cells") from None
    finally:
        text.detach()


def _listed_rows(path: Path, text: str) -> Iterator[Raw]:
    """The objects of a JSON list, each with the line that it starts in."""
    breaks, mark, end = [found.start() for found in re.finditer("\n", text)], OPENING.match(text), 0
    while mark is not None and mark[1] != "]":
        line = bisect(breaks, mark.end()) + 1
        try:
            begin = mark.end()
            row, end = TABLES.raw_decode(text, begin)
            if text.find("\\u", begin, end) >= 0:
                json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as fault:
            raise json_fault(fault, f"{path}:{getattr(fault, 'lineno', line)}") from None
        if not isinstance(row, dict):
            raise BadData("not a JSON object", field=f"{path}:{line}", hint="a list of objects")
        yield line, row
        mark = NEXT.match(text, end)
    if mark is None or text[mark.end() :].strip():
        where = f"{path}:{bisect(breaks, end) + 1}"
        raise BadData("not JSON: neither a comma nor the end of the list", field=where, hint="a list of objects")
