"""What a run may be given beside models and task: an index to look things up in, a file of rows to train on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consort.core.counted import counted
from consort.core.errors import BadData
from consort.core.files import sha256_of
from consort.core.journal import key_of
from consort.core.types import Example
from consort.data import Task
from consort.data.rows import example_of, parse_row, read_lines

JOINTS = ("", " ", "\n")
"""What may stand between a prompt and its answer in a plain text."""


@dataclass(frozen=True, slots=True)
class Given:
    """`docs` is the folder of an index and `retriever` the expression that asks it; `train` a file of JSON lines.

    `identity` tells the content of both, by their paths. All are empty where nothing is given.
    """

    docs: str = ""
    retriever: Mapping[str, Any] | None = None
    train: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)

    @property
    def told(self) -> dict[str, Any]:
        """What a run's journal says of it."""
        return {name: path for name, path in (("docs", self.docs), ("train", self.train)) if path}


NOTHING = Given()


def open_given(task: Task, docs: str | Path | None, train: str | Path | None) -> Given:
    """The checked index and rows, by whole paths.

    Raises BadParameter for a folder that holds no index, BadData for a damaged one, for one whose encoder is another
    now, for rows that cannot be read, and for rows that ask what the task asks.
    """
    folder, rows = (str(Path(given).expanduser().resolve()) if given else "" for given in (docs, train))
    retriever = retriever_of(Path(folder)) if folder else None
    if rows:
        check_apart(Path(rows), task)
    identity = {folder: sha256_of(Path(folder) / "index.json")} if folder else {}
    identity |= {rows: sha256_of(Path(rows))} if rows else {}
    return Given(folder, retriever, rows, identity)


def retriever_of(folder: Path) -> dict[str, Any]:
    """The retriever that suits an index: of words, of words and vectors, or of triples. It is opened to be sure."""
    from consort.cooperate.retrieve.encoding import encoder_of
    from consort.knowledge.graph import opened_graph
    from consort.knowledge.text_index import TextIndex, read_header

    if _kind(folder) == "graph":
        opened_graph(folder)
        return {"graph": {"graph": str(folder)}}
    read_header(folder)
    index = TextIndex.open(folder)
    if not index.encoder:
        return {"bm25": {"index": str(folder)}}
    encoder_of(index)
    return {"hybrid": {"index": str(folder)}}


def _kind(folder: Path) -> str:
    """The kind that an index says it is of; empty where there is none that can be read."""
    try:
        header = json.loads((folder / "index.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return str(header.get("kind")) if isinstance(header, dict) else ""


def read_rows(file: Path) -> list[Example]:
    """The rows of a file of JSON lines: prompt and target, messages, or text. Raises BadData."""
    found = []
    for number, content in read_lines(file):
        where = f"{file}:{number}"
        example = example_of(parse_row(content, where), where, number)
        if example.text is None and not example.target:
            raise BadData("has no target to learn", field=where, hint="add a target, or write the row as text")
        found.append(example)
    if not found:
        raise BadData("holds no rows", field=str(file), hint='lines of {"prompt": …, "target": …} or {"text": …}')
    return found


def check_apart(file: Path, task: Task) -> None:
    """Raise BadData where rows ask what an example of dev or test asks: what is trained on cannot judge."""
    rows = read_rows(file)
    for part, examples in (("test", task.test), ("dev", task.dev)):
        asked = {key_of(_asked(one)) for one in examples}
        lines = [row.line for row in rows if key_of(_asked(row)) in asked] or list(_quoting(rows, examples))
        if lines:
            said = f"{counted(len(lines), 'row')} of {len(rows)} (line {lines[0]}) ask what the task's {part} asks"
            raise BadData(said, field=str(file), hint="train on other rows: those that are judged by must be unseen")


def _asked(example: Example) -> list[Any]:
    """What a model sees of an example, white space aside."""
    turns = [[m["role"], " ".join(m["content"].split())] for m in example.messages or ()]
    return [turns, " ".join((example.prompt or "").split()), " ".join((example.text or "").split())]


def _quoting(rows: Sequence[Example], examples: Sequence[Example]) -> Iterator[int]:
    """Lines of plain texts in which an example stands with its answer."""
    texts = [(row.line, row.text) for row in rows if row.text is not None]
    if not texts:
        return
    whole = [f"{one.prompt}{joint}{t}" for one in examples if one.prompt for t in one.target for joint in JOINTS]
    yield from (line for line, text in texts if any(told in text for told in whole))
