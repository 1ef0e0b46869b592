"""One line of a task file: from bytes to a checked Example, or an error that names file, line and column.

A column that is a near miss of a known one (`traget`) is refused; any other stranger (`id`, `source`) is the user's
own note and is passed over.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader, FileIO
from itertools import count
from pathlib import Path
from typing import IO, Any, NoReturn

from consort.core.errors import BadData
from consort.core.files import machine_errors
from consort.core.marked import Marked
from consort.core.types import Example, Message

COLUMNS = ("prompt", "context", "messages", "text", "target", "choices", "answer", "group", "split")
SUBJECTS = ("prompt", "messages", "text")
SPLITS = ("dev", "test")
ROLES = ("system", "user", "assistant")
NEAR = 0.8
MOST_LINE = 1 << 24
"""Bytes of one line: a file that is no text is refused in its first read."""

Row = dict[str, Any]


HEAD = 2**16
"""How much of a file is looked at before it is read."""


def read_lines(path: Path, *, raw: bool = False) -> Iterator[tuple[int, bytes]]:
    """Line number (from 1) and content of every line that is not blank; of every line as it stands where `raw`.

    Raises BadData when there is no such file, and for a line that is no text or longer than 16 MiB.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise BadData(what, field=str(path), hint="give the path of a JSONL file")
    with machine_errors(path), BufferedReader(FileIO(path), HEAD) as file:
        yield from lines_of(file, path.name, raw=raw)


def lines_of(file: IO[bytes], name: str, *, raw: bool = False) -> Iterator[tuple[int, bytes]]:
    """The same of an open file that is called `name`."""
    for number in count(1):
        line = file.readline(MOST_LINE + 1)
        if not line:
            return
        where = f"{name}:{number}"
        check_text(line, where)
        if len(line) > MOST_LINE:
            raise BadData(f"a line of more than {MOST_LINE >> 20} MiB", field=where, hint="one JSON object a line")
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not raw:
            content = content.strip()
        if content:
            yield number, content


def check_text(part: bytes, where: str) -> None:
    """Raises BadData for bytes that no text has: an empty stretch of a sparse file, an archive."""
    if b"\0" in part:
        raise BadData("not text: it holds zero bytes", field=where, hint="give a text file, one JSON object a line")


def parse_row(line: bytes, where: str) -> Row:
    """The known columns of one line of a task; `where` is "file:line". Raises BadData."""
    row = parse_object(line, where)
    check_names(row, where)
    return {name: value for name, value in row.items() if name in COLUMNS}


def parse_object(line: bytes, where: str, decoder: json.JSONDecoder | None = None) -> Row:
    """The JSON object of one line. Raises BadData."""
    try:
        row = (decoder or DECODER).decode(line.decode())
        if b"\\u" in line:  # else there can be no lone surrogate
            json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as fault:
        raise json_fault(fault, where) from None
    if not isinstance(row, dict):
        raise BadData("not a JSON object", field=where, hint="one JSON object a line")
    return row


def json_fault(fault: ValueError | RecursionError, where: str) -> BadData:
    """What keeps JSON from being read, in one plain line."""
    if isinstance(fault, RecursionError):
        return BadData("nested too deeply", field=where, hint="one flat JSON object a line")
    if isinstance(fault, UnicodeError):
        return BadData("not valid Unicode text", field=where, hint="save the file as UTF-8, without lone surrogates")
    if isinstance(fault, json.JSONDecodeError):
        what = f"{fault.msg} (column {fault.colno})"
        return BadData(f"not JSON: {what}", field=where, hint="one JSON object a line")
    too_long = "integer string conversion" in str(fault)
    what = "a number has thousands of digits" if too_long else str(fault)
    return BadData(f"not JSON: {what}", field=where, hint="one JSON object a line, each column once")


def example_of(row: Mapping[str, Any], where: str, line: int) -> Example:
    """The Example of a row; raises BadData naming the column that is missing or of the wrong type."""
    subjects = [name for name in SUBJECTS if row.get(name) is not None]
    if len(subjects) != 1:
        what = "no prompt, messages or text" if not subjects else f"both {' and '.join(subjects)}"
        raise BadData(what, field=where, hint="a line has exactly one of prompt, messages, text")
    take = _Columns(row, where)
    choices = tuple(take("choices", "a list of two or more non-empty strings", _is_choices) or ())
    answer = take("answer", "the index of the right choice, from 0", lambda v: _is_index(v, len(choices)))
    target = take("target", 'a string or a list of strings (write numbers as "42")', _is_target)
    return Example(
        prompt=_prompt(
            take("prompt", "a string", _is_text), take("context", "a string or a list of strings", _is_target)
        ),
        messages=_messages(take("messages", "a list of {role, content}", _is_messages)),
        text=take("text", "a non-empty string", lambda v: _is_text(v) and bool(v)),
        target=() if target is None else (target,) if isinstance(target, str) else tuple(target),
        choices=choices,
        answer=answer,
        group=take("group", "a string", _is_text),
        line=line,
    )


def _prompt(prompt: str | None, context: str | list[str] | None) -> str | None:
    """The prompt behind the context that a line lays beside it, which stays marked as such."""
    if prompt is None or not context:
        return prompt
    return Marked.beside(prompt, [context] if isinstance(context, str) else context)


def split_of(row: Mapping[str, Any], where: str) -> str | None:
    """The row's own `split`, None where it has none."""
    split: str | None = _Columns(row, where)("split", " or ".join(f'"{s}"' for s in SPLITS), lambda v: v in SPLITS)
    return split


class _Columns:
    """Takes checked values out of one row; an absent column is None."""

    def __init__(self, row: Mapping[str, Any], where: str) -> None:
        self.row, self.where = row, where

    def __call__(self, name: str, wanted: str, is_right: Callable[[Any], bool]) -> Any:
        value = self.row.get(name)
        if value is not None and not is_right(value):
            raise BadData(f"{_short(value)} is not {wanted}", field=f"{self.where}: {name}", hint=f"give {wanted}")
        return value


def check_names(row: Mapping[str, Any], where: str) -> None:
    """Refuse a column that is a near miss of a known one: BadData."""
    for name in row:
        near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=NEAR)
        if name not in COLUMNS and near:
            raise BadData(f"unknown column {name!r}", field=where, hint=f"did you mean {near[0]!r}?")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_target(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _is_choices(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(isinstance(v, str) and v for v in value)


def _is_index(value: Any, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_message, value))


def _is_message(value: Any) -> bool:
    is_pair = isinstance(value, dict) and set(value) == {"role", "content"}
    return is_pair and value["role"] in ROLES and isinstance(value["content"], str)


def _messages(value: list[dict[str, str]] | None) -> tuple[Message, ...] | None:
    return None if value is None else tuple(Message(role=m["role"], content=m["content"]) for m in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _no_twins(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the column {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _unknown(name: str) -> None:
    if name != "NaN":
        _no_constant(name)


DECODER = json.JSONDecoder(object_pairs_hook=_no_twins, parse_constant=_no_constant)
TABLES = json.JSONDecoder(object_pairs_hook=_no_twins, parse_constant=_unknown)
"""Of tables, where NaN is written for what is not known."""
