"""Files of answers to be judged, with what is known beside each: JSON lines, checked line by line."""

from __future__ import annotations

import difflib
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadData
from consort.data.rows import NEAR, parse_object, read_lines
from consort.models.detecting import Case

COLUMNS = (
    "answer", "prompt", "source", "samples", "logprobs", "sample_logprobs", "details", "right", "model", "group",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A case with what is known of it: whether the answer is `right` (None: not told), and whose answer it is.

    Rows of one `group` (by default of one source, or prompt) are never parted between fitting and testing.
    """

    case: Case
    right: bool | None = None
    model: str = ""
    group: str = ""
    line: int = 0


def load_answers(path: Path, *, others: bool = False) -> list[Row]:
    """The rows of `{"answer": …, "prompt": …, "source": …, "samples": […], "right": true|false, "model": …, …}`.

    `right` may be a number in [0, 1]: more than a half is right. With `others` the samples of a row are the answers of
    other models to the same prompt and source. Raises BadData.
    """
    rows = [_row(parse_object(line, f"{path}:{n}"), f"{path}:{n}", n) for n, line in read_lines(path)]
    if not rows:
        raise BadData("no lines", field=str(path), hint='give at least one line {"answer": "…"}')
    return with_others(rows) if others else rows


def with_others(rows: Sequence[Row]) -> list[Row]:
    """The rows, the samples of each the answers of other models to the same prompt and source."""
    same: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        same[row.case.prompt, row.case.source].append(row)
    found = []
    for row in rows:
        peers = [r for r in same[row.case.prompt, row.case.source] if r is not row]
        samples = tuple(r.case.answer for r in peers if r.model != row.model or not r.model)
        found.append(replace(row, case=replace(row.case, samples=samples)))
    return found


def _row(row: dict[str, Any], where: str, line: int) -> Row:
    for name in row:
        near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=NEAR)
        if name not in COLUMNS and near:
            raise BadData(f"unknown column {name!r}", field=where, hint=f"did you mean {near[0]!r}?")

    def take(name: str, wanted: str, is_right: Callable[[Any], bool], default: Any) -> Any:
        value = row.get(name)
        if value is not None and not is_right(value):
            raise BadData(f"{str(value)[:60]!r} is not {wanted}", field=f"{where}: {name}", hint=f"give {wanted}")
        return default if value is None else value

    if not isinstance(row.get("answer"), str):
        raise BadData("no answer", field=where, hint='a line is {"answer": "…", "source": "…", "right": true}')
    case = Case(
        row["answer"],
        take("prompt", "a string", _is_text, ""),
        take("source", "a string", _is_text, ""),
        tuple(take("samples", "a list of strings", _is_texts, ())),
        _floats(take("logprobs", "a list of numbers of at most 0", _is_logs, None)),
        _rows(take("sample_logprobs", "a list of lists of numbers of at most 0", _is_rows, None)),
        take("details", "an object", lambda v: isinstance(v, dict), {}),
    )
    right = take("right", "true, false or a number in [0, 1]", _is_share, None)
    group = take("group", "a string", _is_text, "") or case.source or case.prompt
    return Row(case, None if right is None else right > 0.5, take("model", "a string", _is_text, ""), group, line)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_logs(value: Any) -> bool:
    numbers = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    return numbers and all(math.isfinite(v) and v <= 0 for v in value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_logs, value))


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _floats(value: Any) -> tuple[float, ...] | None:
    return None if value is None else tuple(map(float, value))


def _rows(value: Any) -> tuple[tuple[float, ...], ...] | None:
    return None if value is None else tuple(tuple(map(float, row)) for row in value)
