"""Cached answers as models: each column of a table answers the prompts that the table has, at once and for nothing.

A table is JSON lines, one JSON list, or CSV, plain or gzipped. A row has its prompt under `prompt`, `question`, `query`
or `messages`; what each model did stands either in mappings from model to value

    {"prompt": "2+2=", "answers": {"a": "4", "b": "5"}, "scores": {"a": 1, "b": 0}, "cost": {"a": 0.1, "b": 0.02}}

(`quality` is another name of `scores`; `tokens` counts them, a number or [prompt, completion]) or in columns: `a` has
the quality of a's answer where all its values are numbers in [0, 1], true or false, else the answer itself;
`a_answer` (`a_response`), `a_quality` (`a_score`), `a_cost`, `a_tokens` say what they hold. What is null or empty is
unknown, and so are NaN, "nan", "None", "null", "NA", "#N/A", "-" and "?" in place of a number. `group` (`tag`, `task`)
and `split` (dev, test) are the row's own. Scores lie in [0, 1]; those of another range are read with `scale`
(cached/reference.py).
"""

from __future__ import annotations

import logging
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
from jaxtyping import Float

from consort.core.binding import described
from consort.core.counted import counted
from consort.core.errors import BadData, BadParameter, UnknownName, did_you_mean
from consort.core.prompts import check_list
from consort.core.types import Completion, Example, Message, Prompt, Sampling, Usage
from consort.data.task import Task
from consort.models.cached.cells import UNIT, Scale, short
from consort.models.cached.reference import PREFIX, query_of, scale_of, split_file, split_reference
from consort.models.cached.rows import read_columns
from consort.models.tokens.chats import plain_chat

log = logging.getLogger(__name__)
_OPEN: WeakValueDictionary[Any, Table] = WeakValueDictionary()
"""Tables in use, so that a file that is named as task, as models and as data is read once."""


class UnknownAnswer(BadData):
    """The table has the prompt, but neither this model's answer nor its quality."""


class RowText(str):
    """The text of a prompt that knows which row of which table it is; the table stays in use while it is."""

    path = ""
    row = -1
    held: Table | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _row_text, (str(self), self.path, self.row)


def _row_text(text: str, path: str, row: int, held: Table | None = None) -> RowText:
    found = RowText(text)
    found.path, found.row, found.held = path, row, held
    return found


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Table:
    """What several models answered: row i is about `prompts[i]`, column m about `models[m]`.

    `answers` are texts, None where unknown. `quality` is in [0, 1], larger is better; `cost` in the table's own unit;
    `tokens` [n, model, 2] of prompt and completion; NaN where unknown. `groups` and `splits` are "" where the table
    does not say. `rows` finds the rows of a prompt's text. `lines` are where rows start in the file, whose name is
    `path` with the options it is read by.
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
    rows: Mapping[str, Sequence[int]]
    lines: tuple[int, ...] = ()

    def column(self, model: str) -> int:
        """The number of a model's column. Raises UnknownName."""
        if model not in self.models:
            hint = did_you_mean(model, self.models)
            raise UnknownName(f"has no column {model!r}", field=self.path, hint=hint)
        return self.models.index(model)

    def split_of(self, row: int) -> str:
        """A row's split. One without is cut as task files are: crc32(prompt) % 5, 0 and 1 dev, else test."""
        return self.splits[row] or ("dev" if zlib.crc32(text_of(self.prompts[row]).encode()) % 5 < 2 else "test")

    def rows_of(self, split: str) -> list[int]:
        """The rows of "dev" or "test", in order."""
        return [row for row in range(len(self.prompts)) if self.split_of(row) == split]

    def task(self) -> Task:
        """The table's prompts as a task whose metric is the quality that the table tells; prompts know their rows."""
        parts: dict[str, list[Example]] = {"dev": [], "test": []}
        for row, (prompt, group) in enumerate(zip(self.prompts, self.groups, strict=True)):
            line = self.lines[row] if self.lines else row + 1
            asked = self._asked(prompt, row)
            parts[self.split_of(row)].append(Example(**asked, group=group or None, line=line))
        return Task(Path(self.path).name, "quality", tuple(parts["dev"]), tuple(parts["test"]))

    def _asked(self, prompt: Prompt, row: int) -> dict[str, Any]:
        first = _row_text(prompt if isinstance(prompt, str) else prompt[0]["content"], self.path, row, self)
        if isinstance(prompt, str):
            return {"prompt": first}
        return {"messages": (Message(role=prompt[0]["role"], content=first), *prompt[1:])}

    def find(self, prompt: Prompt, column: int) -> int | None:
        """The row that a prompt is: its own if it knows it, else by its text; None where there is none.

        Raises BadData where several rows have the text, and tell different things of the model.
        """
        text = text_of(prompt)
        own: Any = prompt if isinstance(prompt, str) else prompt[0]["content"] if prompt else ""
        if isinstance(own, RowText) and own.path == self.path and text == text_of(self.prompts[own.row]):
            return own.row
        rows = self.rows.get(text, ())
        told = {(self.answers[r][column], *np.nan_to_num([self.quality[r, column]], nan=-1)) for r in rows}
        if len(told) > 1:
            stands = ", ".join(f"{self.lines[r] if self.lines else r + 1} ({self.split_of(r)})" for r in rows[:5])
            hint = f"ask by the table's own task: --task {PREFIX}{self.path}"
            what = f"{short(text)} stands in lines {stands}, with different values for {self.models[column]}"
            raise BadData(what, field=self.path, hint=hint)
        return rows[0] if rows else None


class TableModel:
    """One column of a table as a model; it answers the prompts that the table has.

    `details` has the answer's `quality` and `price` (the table's cost) where they are known. Where only the quality is
    known the text is empty. A cached answer is whole: `max_tokens` does not cut it, `stop` does. Raises BadData for a
    prompt that the table does not have, UnknownAnswer for one to which this model's answer is not known.
    """

    gives_logprob = False
    tokenizer_choice = None

    __repr__ = described

    def __init__(self, table: Table, model: str) -> None:
        self.table, self.column = table, table.column(model)
        self.name, self.source = model, f"{PREFIX}{table.path}#{model}"

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        check_list(prompts)
        return [self._answer(prompt, sampling) for prompt in prompts]

    def knows(self, prompt: Prompt, *, graded: bool) -> bool:
        """Whether the answer is told, or with `graded` its quality. Raises BadData for a prompt the table has not."""
        row = self._row(prompt)
        is_graded = not np.isnan(self.table.quality[row, self.column])
        return bool(is_graded if graded else is_graded or self.table.answers[row][self.column] is not None)

    def _row(self, prompt: Prompt) -> int:
        row = self.table.find(prompt, self.column)
        if row is None:
            count = counted(len(self.table.rows), "prompt")
            hint = f"the table has answers to {count}, which must be equal to the letter"
            raise BadData(f"no answer to {short(text_of(prompt))}", field=self.source, hint=hint)
        return row

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Completion:
        row = self._row(prompt)
        text, quality = self.table.answers[row][self.column], self.table.quality[row, self.column]
        if text is None and np.isnan(quality):
            hint = "this one is not known; a task of the table leaves it out"
            raise UnknownAnswer(f"no answer to {short(text_of(prompt))}", field=self.source, hint=hint)
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


def table_model(reference: str, table: Table | None = None) -> TableModel:
    """The model that `table:FILE#COLUMN` names; `table` is that file where it has been read already."""
    file, column = split_reference(reference)
    found = open_table(file) if table is None else table
    if not column:
        raise BadParameter("names no column", field=reference, hint=f"{reference}#{found.models[0]}")
    return TableModel(found, column)


def open_table(
    path: str | Path,
    *,
    scale: float | Sequence[float] | None = None,
    contaminated: Literal["keep", "drop"] = "keep",
) -> Table:
    """Read and check a table, named by its file and, after `?`, options (cached/reference.py).

    `scale` is the range of its scores, from 0 to a number or a pair; `contaminated="drop"` leaves out test rows whose
    prompt dev has too. What is scaled, left out, doubled or not known is told in the log, once for a table in use.
    Raises BadData naming file, row and column.
    """
    file, options = split_file(str(path))
    options |= {} if scale is None else {"scale": scale_of(scale)}
    options |= {} if contaminated == "keep" else {"contaminated": contaminated}
    name = file + query_of(options)
    stat = Path(file).stat() if Path(file).is_file() else None
    key = stat and (str(Path(file).resolve()), name, stat.st_mtime_ns, stat.st_size)
    found = _OPEN.get(key)
    if found is None:
        found = _read(file, name, options.get("scale", UNIT), drops=options.get("contaminated") == "drop")
        _OPEN[key] = found
    return found


def _read(file: str, name: str, scale: Scale, *, drops: bool) -> Table:
    columns = read_columns(Path(file), scale)
    if not columns.models:
        hint = 'columns of models, or {"answers": {...}} or {"scores": {...}}'
        raise BadData("has no answers and no qualities", field=file, hint=hint)
    table = Table(
        name,
        tuple(columns.models),
        tuple(columns.prompts),
        columns.answers(),
        columns.numbers("quality"),
        columns.numbers("cost"),
        columns.numbers("tokens"),
        tuple(columns.groups),
        tuple(columns.splits),
        _by_text(columns.prompts),
        tuple(columns.lines),
    )
    if scale != UNIT:
        log.warning("%s: scores of [%g, %g] are read as qualities of [0, 1]", file, *scale)
    table = _without_contamination(table, file, drops)
    for model, unknown, known in zip(
        table.models, np.isnan(table.quality).sum(0), (~np.isnan(table.quality)).sum(0), strict=True
    ):
        if unknown and known:
            what = "%s: %d of %d scores of %s are not known; those rows are left out for it"
            log.warning(what, file, unknown, unknown + known, model)
    return table


def _by_text(prompts: Sequence[Prompt]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        found.setdefault(text_of(prompt), []).append(i)
    return found


def _without_contamination(table: Table, file: str, drops: bool) -> Table:
    """The table, told how many test prompts dev has too; with `drops` without those rows of test."""
    twins = [rows for rows in table.rows.values() if len(rows) > 1]
    shared = [rows for rows in twins if len({table.split_of(row) for row in rows}) > 1]
    doubled = {row for rows in shared for row in rows if table.split_of(row) == "test"}
    again = sum(max(Counter(table.split_of(row) for row in rows).values()) > 1 for rows in twins)
    if again:
        log.warning("%s: %s more than once in one split", file, counted(again, "prompt stands", "prompts stand"))
    if doubled:
        tests = len(table.rows_of("test"))
        done = "they are left out" if drops else "contaminated=drop leaves them out"
        log.warning("%s: %d of %d test rows have a prompt that dev has too; %s", file, len(doubled), tests, done)
    if not doubled or not drops:
        return table
    kept = [row for row in range(len(table.prompts)) if row not in doubled]
    parts: dict[str, Any] = {name: tuple(getattr(table, name)[row] for row in kept) for name in _BY_ROW}
    arrays: dict[str, Any] = {name: getattr(table, name)[kept] for name in ("quality", "cost", "tokens")}
    return replace(table, rows=_by_text(parts["prompts"]), **parts, **arrays)


_BY_ROW = ("prompts", "answers", "groups", "splits", "lines")
