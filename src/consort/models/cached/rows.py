"""From the rows of a table's file to columns, one cell at a time.

What a row looks like stands in models/cached/model.py. Numbers are held as numbers, so that a table of a million cells
takes little more than its texts.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from consort.core.errors import BadData
from consort.core.types import Message, Prompt
from consort.data.rows import SPLITS, split_of
from consort.models.cached.cells import MOST, NAN, Scale, answer_of, as_number, number_of, quality_of, short, tokens_of
from consort.models.cached.files import raw_rows

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
MOSTLY = 0.5
"""A column of which this share of the known cells are qualities is one of qualities."""
MAX_CELLS = 20_000_000
"""Most cells (rows times models) of a table: rows that each name other models would make it larger than any memory."""


@dataclass(slots=True)
class Columns:
    """What has been read: a list for each model and kind of cell, as long as the last row that has one."""

    path: Path
    scale: Scale
    prompts: list[Prompt] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    models: dict[str, None] = field(default_factory=dict)
    cells: dict[tuple[str, str], Any] = field(default_factory=dict)
    is_wide: bool = False

    def add(self, number: int, raw: Mapping[str, Any]) -> None:
        """Take one row. Raises BadData naming file, row and column."""
        where = f"{self.path}:{number}"
        split = raw.get("split") or None
        self.prompts.append(_prompt(raw, where))
        self.groups.append(next((str(raw[name]) for name in GROUPS if raw.get(name)), ""))
        self.splits.append(split if split in SPLITS else split_of({"split": split}, where) or "")
        self.lines.append(number)
        for name, value in raw.items():
            if name in WIDE and isinstance(value, dict):
                self.is_wide = True
                for model, cell in value.items():
                    self._put(str(model), WIDE[name], cell, where)
            elif name and name not in _KNOWN:
                suffix = next((s for s in SUFFIXES if name.endswith(s) and name != s), "")
                if suffix or not self.is_wide:
                    self._put(name.removesuffix(suffix), SUFFIXES.get(suffix, ""), value, where)

    def _put(self, model: str, kind: str, value: Any, where: str) -> None:
        column = self.cells.get((model, kind))
        if column is None:
            column = self._new(model, kind, where)
        size = 2 if kind == "tokens" else 1
        at = (len(self.prompts) - 1) * size
        cell = self._read(kind, value, where, model)
        if size == 1 and len(column) == at:
            column.append(cell)
            return
        if len(column) < at:
            empty: list[Any] = [NAN if kind in _SIZES else None]
            column.extend(empty * (at - len(column)))
        column[at : at + size] = array("d", cell if size == 2 else (cell,)) if kind in _SIZES else [cell]

    def _new(self, model: str, kind: str, where: str) -> Any:
        """A column of a model that has not been met, or not with this kind of cell."""
        column = self.cells[model, kind] = array("d") if kind in _SIZES else []
        self.models.setdefault(model)
        if len(self.models) * len(self.prompts) > MAX_CELLS:
            what = f"more than {MAX_CELLS} rows times models"
            raise BadData(what, field=where, hint="one column or one name for each model")
        return column

    def _read(self, kind: str, value: Any, where: str, model: str) -> Any:
        if kind == "answer":
            return value if type(value) is str else answer_of(value, f"{where}: {model}")
        if kind == "quality":
            return quality_of(value, f"{where}: {model}", self.scale)
        if kind == "cost":
            return number_of(value, f"{where}: {model}", "a cost", 0.0, MOST)
        return tokens_of(value, f"{where}: {model}") if kind == "tokens" else value

    def settle(self) -> None:
        """Make every plain column one of qualities or of answers; in a table of mappings they are notes."""
        for model in [model for model, kind in self.cells if not kind]:
            values = self.cells.pop((model, ""))
            if self.is_wide:
                continue
            kind, column = self._settled(model, values)
            self.cells.setdefault((model, kind), column)
        kept = {model for model, _ in self.cells}
        self.models = {model: None for model in self.models if model in kept}

    def _settled(self, model: str, values: list[Any]) -> tuple[str, Any]:
        numbers = [as_number(value) for value in values]
        if None in numbers:
            self._refuse_mixture(model, values, numbers)
            wheres = (f"{self.path}:{line}: {model}" for line in self.lines)
            return "answer", [answer_of(value, where) for value, where in zip(values, wheres, strict=False)]
        low, high = self.scale
        for line, number in zip(self.lines, numbers, strict=False):
            if number is not None and not np.isnan(number) and not low <= number <= high:
                hint = f"scores of another range: table:{self.path}?scale=100, or scale=-1..1; answers: {model}_answer"
                what = f"{number:g} is outside [{low:g}, {high:g}], and so no quality, in a column of numbers alone"
                raise BadData(what, field=f"{self.path}:{line}: {model}", hint=hint)
        return "quality", array("d", ((number - low) / (high - low) for number in numbers if number is not None))

    def _refuse_mixture(self, model: str, values: list[Any], numbers: list[float | None]) -> None:
        """Raise BadData where most known cells are qualities and some are no numbers."""
        low, high = self.scale
        inside = sum(number is not None and low <= number <= high for number in numbers)
        if inside < MOSTLY * sum(number is None or not np.isnan(number) for number in numbers):
            return
        at = numbers.index(None)
        hint = f"a number in [{low:g}, {high:g}], or nothing where it is unknown; of answers: {model}_answer"
        what = f"{short(values[at])} stands in a column of scores"
        raise BadData(what, field=f"{self.path}:{self.lines[at]}: {model}", hint=hint)

    def numbers(self, kind: str) -> np.ndarray:
        """The cells of a kind [row, model(, 2)], NaN where unknown."""
        size, rows = _SIZES[kind], len(self.prompts)
        found = np.full((rows, len(self.models), size), np.nan)
        for m, model in enumerate(self.models):
            column = np.asarray(self.cells.get((model, kind), ()), dtype=float).reshape(-1, size)
            found[: len(column), m] = column
        return found if size > 1 else found[..., 0]

    def answers(self) -> tuple[tuple[str | None, ...], ...]:
        """The answers [row][model], None where unknown."""
        rows = len(self.prompts)
        columns = [self.cells.get((model, "answer"), []) for model in self.models]
        return tuple(zip(*(column + [None] * (rows - len(column)) for column in columns), strict=True))


_SIZES = {"quality": 1, "cost": 1, "tokens": 2}
_KNOWN = frozenset((*PROMPTS, *GROUPS, *NOTES))


def _is_text(column: str) -> bool:
    return column in _KNOWN or any(SUFFIXES[end] == "answer" for end in SUFFIXES if column.endswith(end))


def read_columns(path: Path, scale: Scale) -> Columns:
    """All rows of a table, with what every column holds settled. Raises BadData naming file and row."""
    found = Columns(path, scale)
    for number, raw in raw_rows(path, _is_text):
        found.add(number, raw)
    if not found.prompts:
        raise BadData("has no rows", field=str(path), hint="one prompt with its models' answers a row")
    found.settle()
    if len(found.models) * len(found.prompts) > MAX_CELLS:
        raise BadData(f"more than {MAX_CELLS} rows times models", field=str(path), hint="cut it into several tables")
    return found


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
