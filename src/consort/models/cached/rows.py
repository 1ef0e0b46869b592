"""The rows of a table of cached answers, as they stand in a JSON lines, JSON or CSV file (plain or gzipped).

What a row looks like stands in models/cached/model.py.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consort.core.counted import counted
from consort.core.errors import BadData
from consort.core.files import machine_errors
from consort.core.types import Message, Prompt
from consort.data.rows import DECODER, json_fault, parse_object, split_of

PROMPTS = ("prompt", "question", "query", "messages")
GROUPS = ("group", "tag", "task")
NOTES = ("id", "line", "source", "split", "target")
WIDE = {"answers": "answer", "scores": "quality", "quality": "quality", "cost": "cost", "tokens": "tokens"}
SUFFIXES = {
    "_answer": "answer",
    "_response": "answer",
    "_quality": "quality",
    "_score": "quality",
    "_cost": "cost",
    "_tokens": "tokens",
}
TRUTH = {"true": 1.0, "false": 0.0}
MOST = 1e12
"""Of tokens or of money: sums of more are no finite numbers, or none that a table can show."""
OPENING, NEXT = re.compile(r"\s*\[\s*(\])?"), re.compile(r"\s*([,\]])\s*")


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in the file; `cells` by model and what they hold ("" where only all rows together tell)."""

    where: str
    prompt: Prompt
    group: str
    split: str
    cells: Mapping[tuple[str, str], Any]
    is_wide: bool

    @classmethod
    def read(cls, raw: Mapping[str, Any], where: str) -> Row:
        cells: dict[tuple[str, str], Any] = {}
        is_wide = False
        for name, value in raw.items():
            if name in WIDE and isinstance(value, dict):
                is_wide = True
                cells |= {(str(model), WIDE[name]): cell for model, cell in value.items()}
            elif name and name not in (*PROMPTS, *GROUPS, *NOTES):
                suffix = next((s for s in SUFFIXES if name.endswith(s) and name != s), "")
                cells[name.removesuffix(suffix), SUFFIXES.get(suffix, "")] = value
        group = next((str(raw[name]) for name in GROUPS if raw.get(name)), "")
        split = split_of({"split": raw.get("split") or None}, where) or ""
        return cls(where, _prompt(raw, where), group, split, cells, is_wide)

    def only_wide(self) -> Row:
        """The row without plain columns, which are notes in a table of mappings."""
        cells = {key: value for key, value in self.cells.items() if key[1]} if self.is_wide else {}
        return Row(self.where, self.prompt, self.group, self.split, cells, self.is_wide)


def read_rows(path: Path) -> list[Row]:
    """All rows, with what every column holds settled. Raises BadData naming file and row."""
    rows = [Row.read(raw, f"{path}:{number}") for number, raw in _raw_rows(path)]
    if not rows:
        raise BadData("has no rows", field=str(path), hint="one prompt with its models' answers a row")
    is_wide = any(row.is_wide for row in rows)
    return [row.only_wide() for row in rows] if is_wide else _settled(rows)


def _settled(rows: Sequence[Row]) -> list[Row]:
    """The rows with every plain column known as one of qualities or of answers."""
    columns = dict.fromkeys(model for row in rows for model, kind in row.cells if kind == "")
    kinds = {
        model: "quality" if all(_is_quality(row.cells.get((model, ""))) for row in rows) else "answer"
        for model in columns
    }
    settled = []
    for row in rows:
        cells = {(model, kind or kinds[model]): value for (model, kind), value in row.cells.items()}
        settled.append(Row(row.where, row.prompt, row.group, row.split, cells, False))
    return settled


def _raw_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise BadData(what, field=str(path), hint="give a JSONL, JSON or CSV file of cached answers")
    try:
        with machine_errors(path):
            content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BadData("is a damaged gzip file", field=str(path), hint="fetch or pack it again") from None
    except UnicodeError:
        raise BadData("is not UTF-8 text", field=str(path), hint="save the file as UTF-8") from None
    if ".csv" in path.suffixes:
        yield from _csv_rows(path, text)
    elif text.lstrip().startswith("["):
        yield from _listed_rows(path, text)
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield number, parse_object(line.strip().encode(), f"{path}:{number}")


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = list(reader.fieldnames or ())
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise BadData(f"the column {twice!r} stands twice", field=str(path), hint="name each column once")
        for number, row in enumerate(reader, 2):
            if None in row or None in row.values():
                hint = (
                    f"quote cells that hold commas or line breaks; the first line has {counted(len(names), 'column')}"
                )
                raise BadData("has more or fewer cells than the first line", field=f"{path}:{number}", hint=hint)
            yield number, {name: value for name, value in row.items() if value != ""}
    except csv.Error as fault:
        raise BadData(f"not CSV: {fault}", field=f"{path}:{reader.line_num}", hint="quote cells") from None


def _listed_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a JSON list, each with the line that it starts in."""
    breaks, mark, end = [found.start() for found in re.finditer("\n", text)], OPENING.match(text), 0
    while mark is not None and mark[1] != "]":
        line = bisect(breaks, mark.end()) + 1
        try:
            row, end = DECODER.raw_decode(text, mark.end())
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


def _prompt(raw: Mapping[str, Any], where: str) -> Prompt:
    given = [name for name in PROMPTS if raw.get(name) is not None]
    if len(given) != 1:
        what = "no prompt" if not given else f"both {' and '.join(given)}"
        raise BadData(what, field=where, hint=f"a row has exactly one of {', '.join(PROMPTS)}")
    value = raw[given[0]]
    if given[0] != "messages" and isinstance(value, str):
        return value
    is_chat = isinstance(value, list) and value and all(isinstance(m, dict) and _is_turn(m) for m in value)
    if given[0] == "messages" and is_chat:
        return tuple(Message(role=m["role"], content=m["content"]) for m in value)
    raise BadData(f"{short(value)} is no {given[0]}", field=where, hint="a string, or a list of {role, content}")


def _is_turn(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("role"), str) and isinstance(message.get("content"), str)


def _is_quality(value: Any) -> bool:
    number = _as_number(value)
    return value is None or (number is not None and 0 <= number <= 1)


def _as_number(value: Any) -> float | None:
    if isinstance(value, str):
        value = TRUTH.get(value.strip().lower(), value.strip())
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def number_of(value: Any, where: str, what: str, most: float) -> float:
    """A cell as a number in [0, `most`], NaN where it is unknown. Raises BadData."""
    if value is None:
        return float("nan")
    number = _as_number(value)
    if number is None or not 0 <= number <= most:
        bound = f"a number in [0, {most:g}]"
        raise BadData(f"{short(value)} is not {what}", field=where, hint=f"give {bound}, or null where it is unknown")
    return number


def tokens_of(value: Any, where: str) -> tuple[float, float]:
    """Tokens of prompt and completion; a single number counts the completion. Raises BadData."""
    pair = value if isinstance(value, list) and len(value) == 2 else [0 if value is not None else None, value]
    read, written = (number_of(n, where, "a number of tokens", MOST) for n in pair)
    return read, written


def answer_of(value: Any, where: str) -> str | None:
    """A cell as text, None where it is unknown. Raises BadData."""
    if value is not None and not isinstance(value, str):
        raise BadData(f"{short(value)} is not an answer", field=where, hint="a string, or null where it is unknown")
    return value


def short(value: Any) -> str:
    """A value as it is shown in an error: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
