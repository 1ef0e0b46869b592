"""Cached answers as models: each column of a table answers the prompts that the table has, at once and for nothing.

A table is JSON lines, one JSON list, or CSV, plain or gzipped. A row has its prompt under `prompt`, `question`, `query`
or `messages`; what each model did stands either in mappings from model to value

    {"prompt": "2+2=", "answers": {"a": "4", "b": "5"}, "scores": {"a": 1, "b": 0}, "cost": {"a": 0.1, "b": 0.02}}

(`quality` is another name of `scores`; `tokens` counts them, a number or [prompt, completion]) or in columns: `a` has
the quality of a's answer where all its values are numbers in [0, 1], true or false, else the answer itself;
`a_answer` (`a_response`), `a_quality` (`a_score`), `a_cost`, `a_tokens` say what they hold. What is null or empty is
unknown. `group` (`tag`, `task`) and `split` (dev, test) are the row's own.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData, BadParameter, UnknownName, did_you_mean
from consort.core.files import machine_errors
from consort.core.types import Completion, Example, Message, Prompt, Sampling, Usage
from consort.data.rows import parse_object, split_of
from consort.data.task import Task
from consort.models.tokenizer import plain_chat

PREFIX = "table:"
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


@dataclass(frozen=True, slots=True)
class Table:
    """What several models answered: row i is about `prompts[i]`, column m about `models[m]`.

    `answers` are texts, None where unknown. `quality` is in [0, 1], larger is better; `cost` in the table's own unit;
    `tokens` [n, model, 2] of prompt and completion; NaN where unknown. `groups` and `splits` are "" where the table
    does not say. `rows` finds a prompt's text; of equal prompts the first.
    """

    path: str
    models: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    answers: tuple[tuple[str | None, ...], ...]
    quality: Float[np.ndarray, "n model"]
    cost: Float[np.ndarray, "n model"]
    tokens: Float[np.ndarray, "n model 2"]
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    rows: Mapping[str, int]

    def column(self, model: str) -> int:
        """The number of a model's column. Raises UnknownName."""
        if model not in self.models:
            hint = did_you_mean(model, self.models)
            raise UnknownName(f"has no column {model!r}", field=self.path, hint=hint)
        return self.models.index(model)

    def task(self) -> Task:
        """The table's prompts as a task whose metric is the quality that the table tells.

        Rows without a split are cut as task files are: crc32(prompt) % 5, 0 and 1 dev, else test.
        """
        parts: dict[str, list[Example]] = {"dev": [], "test": []}
        for number, (prompt, group, split) in enumerate(zip(self.prompts, self.groups, self.splits, strict=True), 1):
            chosen = split or ("dev" if zlib.crc32(text_of(prompt).encode()) % 5 < 2 else "test")
            asked: dict[str, Any] = {"prompt": prompt} if isinstance(prompt, str) else {"messages": tuple(prompt)}
            parts[chosen].append(Example(**asked, group=group or None, line=number))
        return Task(Path(self.path).name, "quality", tuple(parts["dev"]), tuple(parts["test"]))


class TableModel:
    """One column of a table as a model; it answers the prompts that the table has.

    `details` has the answer's `quality` and `price` (the table's cost) where they are known. Where only the quality is
    known the text is empty. A cached answer is whole: `max_tokens` does not cut it, `stop` does. Raises BadData for a
    prompt without an answer.
    """

    gives_logprob = False
    tokenizer_choice = None

    def __init__(self, table: Table, model: str) -> None:
        self.table, self.column = table, table.column(model)
        self.name, self.source = model, f"{PREFIX}{table.path}#{model}"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        return [self._answer(prompt, sampling) for prompt in prompts]

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Completion:
        row = self.table.rows.get(text_of(prompt))
        text = None if row is None else self.table.answers[row][self.column]
        quality = np.nan if row is None else self.table.quality[row, self.column]
        if row is None or (text is None and np.isnan(quality)):
            hint = f"the table has answers to {len(self.table.rows)} prompts, which must be equal to the letter"
            raise BadData(f"no answer to {_short(text_of(prompt))}", field=self.source, hint=hint)
        for stop in sampling.stop:
            text = None if text is None else text.split(stop)[0]
        told = {"quality": quality, "price": self.table.cost[row, self.column]}
        details = {name: float(value) for name, value in told.items() if not np.isnan(value)}
        read, written = map(int, np.nan_to_num(self.table.tokens[row, self.column]))
        usage = Usage(read, written, 1)
        return Completion(text or "", usage=usage, cost={self.name: usage}, details=details)


def text_of(prompt: Prompt) -> str:
    """A prompt as one text: a string, the only message of a chat, or all messages of a chat."""
    if isinstance(prompt, str):
        return prompt
    return prompt[0]["content"] if len(prompt) == 1 else plain_chat(prompt)


def split_reference(reference: str) -> tuple[str, str]:
    """File and column of `table:FILE#COLUMN`; the column is "" where none is named. Raises BadParameter."""
    file, _, column = reference.removeprefix(PREFIX).partition("#")
    if not reference.startswith(PREFIX) or not file:
        raise BadParameter("names no table", field=reference, hint=f"{PREFIX}FILE#COLUMN")
    return file, column


def table_model(reference: str, table: Table | None = None) -> TableModel:
    """The model that `table:FILE#COLUMN` names; `table` is that file where it has been read already."""
    file, column = split_reference(reference)
    found = open_table(file) if table is None else table
    if not column:
        raise BadParameter("names no column", field=reference, hint=f"{reference}#{found.models[0]}")
    return TableModel(found, column)


def open_table(path: str | Path) -> Table:
    """Read and check a table. Raises BadData naming file, row and column."""
    rows = [_Row.read(raw, f"{path}:{number}") for number, raw in _raw_rows(Path(path))]
    if not rows:
        raise BadData("has no rows", field=str(path), hint="one prompt with its models' answers a row")
    is_wide = any(row.is_wide for row in rows)
    rows = [row.only_wide() for row in rows] if is_wide else _settled(rows)
    models = tuple(dict.fromkeys(model for row in rows for model, _ in row.cells))
    if not models:
        hint = 'columns of models, or {"answers": {...}} or {"scores": {...}}'
        raise BadData("has no answers and no qualities", field=str(path), hint=hint)
    return _table(str(path), models, rows)


def _table(path: str, models: tuple[str, ...], rows: Sequence[_Row]) -> Table:
    shape = (len(rows), len(models))
    quality, cost, tokens = np.full(shape, np.nan), np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    answers: list[list[str | None]] = [[None] * len(models) for _ in rows]
    place = {model: m for m, model in enumerate(models)}
    for i, row in enumerate(rows):
        for (model, kind), value in row.cells.items():
            m, where = place[model], f"{row.where}: {model}"
            if kind == "quality":
                quality[i, m] = _number(value, where, "a quality", 1.0)
            elif kind == "cost":
                cost[i, m] = _number(value, where, "a cost", np.inf)
            elif kind == "tokens":
                tokens[i, m] = _tokens(value, where)
            else:
                answers[i][m] = _answer(value, where)
    first: dict[str, int] = {}
    for i, row in enumerate(rows):
        first.setdefault(text_of(row.prompt), i)
    prompts, groups, splits = zip(*((row.prompt, row.group, row.split) for row in rows), strict=True)
    return Table(path, models, prompts, tuple(map(tuple, answers)), quality, cost, tokens, groups, splits, first)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as it stands in the file; `cells` by model and what they hold ("" where only all rows together tell)."""

    where: str
    prompt: Prompt
    group: str
    split: str
    cells: Mapping[tuple[str, str], Any]
    is_wide: bool

    @classmethod
    def read(cls, raw: Mapping[str, Any], where: str) -> _Row:
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

    def only_wide(self) -> _Row:
        """The row without plain columns, which are notes in a table of mappings."""
        cells = {key: value for key, value in self.cells.items() if key[1]} if self.is_wide else {}
        return _Row(self.where, self.prompt, self.group, self.split, cells, self.is_wide)


def _settled(rows: Sequence[_Row]) -> list[_Row]:
    """The rows with every plain column known as one of qualities or of answers."""
    columns = dict.fromkeys(model for row in rows for model, kind in row.cells if kind == "")
    kinds = {
        model: "quality" if all(_is_quality(row.cells.get((model, ""))) for row in rows) else "answer"
        for model in columns
    }
    settled = []
    for row in rows:
        cells = {(model, kind or kinds[model]): value for (model, kind), value in row.cells.items()}
        settled.append(_Row(row.where, row.prompt, row.group, row.split, cells, False))
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
                hint = f"quote cells that hold commas or line breaks; there are {len(names)} columns"
                raise BadData("has more or fewer cells than the first line", field=f"{path}:{number}", hint=hint)
            yield number, {name: value for name, value in row.items() if value != ""}
    except csv.Error as fault:
        raise BadData(f"not CSV: {fault}", field=f"{path}:{reader.line_num}", hint="quote cells") from None


def _listed_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise BadData(f"not JSON: {fault}", field=str(path), hint="a list of objects") from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadData("not a JSON object", field=f"{path}:{number}", hint="a list of objects")
        yield number, row


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
    raise BadData(f"{_short(value)} is no {given[0]}", field=where, hint="a string, or a list of {role, content}")


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


def _number(value: Any, where: str, what: str, most: float) -> float:
    if value is None:
        return float("nan")
    number = _as_number(value)
    if number is None or not 0 <= number <= most:
        bound = "a number in [0, 1]" if most == 1 else "a number of at least 0"
        raise BadData(f"{_short(value)} is not {what}", field=where, hint=f"give {bound}, or null where it is unknown")
    return number


def _tokens(value: Any, where: str) -> tuple[float, float]:
    pair = value if isinstance(value, list) and len(value) == 2 else [0 if value is not None else None, value]
    read, written = (_number(n, where, "a number of tokens", np.inf) for n in pair)
    return read, written


def _answer(value: Any, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadData(f"{_short(value)} is not an answer", field=where, hint="a string, or null where it is unknown")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
