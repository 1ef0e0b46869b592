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

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.core.counted import counted
from consort.core.errors import BadData, BadParameter, UnknownName, did_you_mean
from consort.core.prompts import check_list
from consort.core.types import Completion, Example, Prompt, Sampling, Usage
from consort.data.task import Task
from consort.models.cached.rows import MOST, Row, answer_of, number_of, read_rows, short, tokens_of
from consort.models.tokens.tokenizer import plain_chat

PREFIX = "table:"


@dataclass(frozen=True, slots=True)
class Table:
    """What several models answered: row i is about `prompts[i]`, column m about `models[m]`.

    `answers` are texts, None where unknown. `quality` is in [0, 1], larger is better; `cost` in the table's own unit;
    `tokens` [n, model, 2] of prompt and completion; NaN where unknown. `groups` and `splits` are "" where the table
    does not say. `rows` finds a prompt's text; of equal prompts the first. `lines` are
    where rows start in the file.
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
    lines: tuple[int, ...] = ()

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
        lines = self.lines or range(1, len(self.prompts) + 1)
        for line, prompt, group, split in zip(lines, self.prompts, self.groups, self.splits, strict=True):
            chosen = split or ("dev" if zlib.crc32(text_of(prompt).encode()) % 5 < 2 else "test")
            asked: dict[str, Any] = {"prompt": prompt} if isinstance(prompt, str) else {"messages": tuple(prompt)}
            parts[chosen].append(Example(**asked, group=group or None, line=line))
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
        check_list(prompts)
        return [self._answer(prompt, sampling) for prompt in prompts]

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Completion:
        row = self.table.rows.get(text_of(prompt))
        text = None if row is None else self.table.answers[row][self.column]
        quality = np.nan if row is None else self.table.quality[row, self.column]
        if row is None or (text is None and np.isnan(quality)):
            hint = (
                f"the table has answers to {counted(len(self.table.rows), 'prompt')}, which must be equal to the letter"
            )
            raise BadData(f"no answer to {short(text_of(prompt))}", field=self.source, hint=hint)
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
    rows = read_rows(Path(path))
    models = tuple(dict.fromkeys(model for row in rows for model, _ in row.cells))
    if not models:
        hint = 'columns of models, or {"answers": {...}} or {"scores": {...}}'
        raise BadData("has no answers and no qualities", field=str(path), hint=hint)
    return _table(str(path), models, rows)


def _table(path: str, models: tuple[str, ...], rows: Sequence[Row]) -> Table:
    shape = (len(rows), len(models))
    quality, cost, tokens = np.full(shape, np.nan), np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    answers: list[list[str | None]] = [[None] * len(models) for _ in rows]
    place = {model: m for m, model in enumerate(models)}
    for i, row in enumerate(rows):
        for (model, kind), value in row.cells.items():
            m, where = place[model], f"{row.where}: {model}"
            if kind == "quality":
                quality[i, m] = number_of(value, where, "a quality", 1.0)
            elif kind == "cost":
                cost[i, m] = number_of(value, where, "a cost", MOST)
            elif kind == "tokens":
                tokens[i, m] = tokens_of(value, where)
            else:
                answers[i][m] = answer_of(value, where)
    first: dict[str, int] = {}
    for i, row in enumerate(rows):
        first.setdefault(text_of(row.prompt), i)
    prompts, groups, splits = zip(*((row.prompt, row.group, row.split) for row in rows), strict=True)
    lines = tuple(int(row.where.rpartition(":")[2]) for row in rows)
    return Table(path, models, prompts, tuple(map(tuple, answers)), quality, cost, tokens, groups, splits, first, lines)
