"""A task: examples to tune on (dev), examples to report on (test), a metric, and how to generate.

Read from one file of rows (JSONL, CSV, Parquet), a YAML file, a folder with `task.yml`, a JSON file with `dev` and
`test`, as Model Swarms has them (data/swarm_file.py). A single file without `split`
columns is cut by crc32(line) % 5: 0 and 1 are dev, the rest test. Where no metric is named it follows from the first
line: `choices` choice, `text` perplexity, `target` exact_match.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from consort.core.errors import BadData, ConsortError, UnknownName, did_you_mean
from consort.core.types import Example
from consort.data.registry import Rule, inferred, rule_of
from consort.data.rows import SPLITS, Row, example_of, split_of
from consort.data.settings import Grading, Options, check_keys, files_of, grading_of, metric_of
from consort.data.sources import read_rows
from consort.data.swarm_file import read_document, rows_of
from consort.data.yaml import load_yaml

log = logging.getLogger(__name__)

TASK_FILE = "task.yml"
PARTS = (*SPLITS, "fit", "held_out")


@dataclass(frozen=True, slots=True)
class Task:
    """Checked examples with all the columns that `metric` needs. `load_task` makes one.

    `options` say how models are asked, `metric_options` are the metric's own, all of them.
    """

    name: str
    metric: str
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    options: Options = Options()
    metric_options: Mapping[str, Any] = field(default_factory=dict)
    _keys: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    """The key, once it has been asked for."""

    def __repr__(self) -> str:
        return f"<consort task {self.name}: {self.metric}, {len(self.dev)} dev, {len(self.test)} test>"

    def split(self, name: str, *, seed: int = 0) -> tuple[Example, ...]:
        """The examples of "dev" or "test", or of "fit" or "held_out", the two parts of dev under `seed`.

        Raises BadData where there are none.
        """
        if name not in PARTS:
            raise UnknownName(f"no split named {name!r}", field="split", hint=did_you_mean(name, PARTS))
        if name in ("fit", "held_out"):
            return self.fit_and_held_out(seed)[PARTS.index(name) - len(SPLITS)]
        examples: tuple[Example, ...] = self.dev if name == "dev" else self.test
        if not examples:
            raise BadData(f"no {name} examples", field=self.name, hint=f"add a {name}: file or lines of that split")
        return examples

    def fit_and_held_out(self, seed: int = 0) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """Dev cut in two halves, group by group; equal prompts stay together; the order of lines plays no part.

        Raises BadData where dev has fewer than two different prompts.
        """
        groups: dict[str, str] = {}
        for example in self.dev:
            groups.setdefault(_subject(example), example.group or "")
        taken: set[str] = set()
        ranked = sorted(groups, key=lambda subject: (groups[subject], _digest([seed, subject])))
        seen = 0
        for _, members in groupby(ranked, key=groups.__getitem__):
            group = list(members)
            seen += len(group)
            taken.update(group[: (seen + 1) // 2 - len(taken)])
        fit = tuple(e for e in self.dev if _subject(e) in taken)
        held_out = tuple(e for e in self.dev if _subject(e) not in taken)
        if not fit or not held_out:
            hint = "give at least two different dev lines, better two hundred"
            raise BadData("too few dev examples to hold some out", field=self.name, hint=hint)
        return fit, held_out

    @property
    def key(self) -> str:
        """A hash (16 hexadecimal digits) of everything that scores depend on; names and paths are not part of it."""
        if not self._keys:
            how = [self.metric, dict(self.metric_options), asdict(self.options)]
            self._keys.append(_digest([how, key_of_examples(self.dev), key_of_examples(self.test)]))
        return self._keys[0]


_COLUMNS = tuple(column.name for column in fields(Example))


def key_of_examples(examples: Sequence[Example]) -> str:
    """A hash of examples in order, whatever file and line they stand in."""
    return _digest([{name: getattr(e, name) for name in _COLUMNS} | {"line": 0} for e in examples])


def load_task(path: Path | str, *, allow_code: bool = False) -> Task:
    """The task of a JSONL, CSV or Parquet file, a YAML file, a folder with `task.yml`, or JSON with `dev` and `test`.

    A metric that is a function, which could be any on this machine,
    is refused unless `allow_code`, and so is one that runs what models write.

    Raises BadData (with file and line), UnknownName for a metric, BadParameter for an option out of range. The same
    prompt in dev and test is reported as a warning in the log.

    >>> import consort
    >>> from consort import lab
    >>> task = consort.load_task(lab.path("tasks/skills"))
    >>> task.metric, len(task.dev), len(task.test)
    ('exact_match', 400, 800)
    """
    task = _read(str(path), allow_code)
    if not task.dev and not task.test:
        raise BadData("no examples", field=str(path), hint="a task has at least one line")
    _warn_of_contamination(task)
    return task


def _read(text: str, allow_code: bool) -> Task:
    path = Path(text)
    if path.is_dir() or path.suffix in (".yml", ".yaml"):
        return _from_yaml(path, allow_code)
    document = read_document(path)
    if document is not None:
        return _from_document(path, document)
    rule = _first_rule(path)
    return _task(path.stem, grading_of({}, rule), _read_parts({"dev": path, "test": path}, rule))


def _task(name: str, grading: Grading, parts: Mapping[str, Sequence[Example]]) -> Task:
    dev, test = (tuple(parts.get(split, ())) for split in SPLITS)
    return Task(name, grading.rule.name, dev, test, grading.options, grading.own)


def _from_document(path: Path, document: Mapping[str, Any]) -> Task:
    metric, settings, rows = rows_of(document, path.name)
    parts = {
        name: [example_of(row, f"{path.name}: {name}[{i}]", i + 1) for i, row in enumerate(rows[name])]
        for name in SPLITS
    }
    return _task(path.stem, grading_of(settings, rule_of(metric)), parts)


def _from_yaml(path: Path, allow_code: bool) -> Task:
    file = path / TASK_FILE if path.is_dir() else path
    if not file.is_file():
        raise BadData("no such file", field=str(file), hint=f"a task folder has a {TASK_FILE}")
    settings = load_yaml(file, error=BadData)
    if not isinstance(settings, dict) or not settings:
        raise BadData("not a mapping", field=str(file), hint="write dev:, test: and metric:")
    with _inside(file):
        files = {name: file.parent / value for name, value in files_of(settings).items()}
        rule, nested = metric_of(settings.get("metric"), allow_code=allow_code)
        if not files:
            check_keys(settings, rule)
            raise BadData("neither dev: nor test:", hint="name at least one file of rows")
    rule = rule or _first_rule(next(iter(files.values())))
    with _inside(file):
        grading = grading_of(settings, rule, nested)
    return _task(path.resolve().name if path.is_dir() else path.stem, grading, _read_parts(files, rule))


@contextmanager
def _inside(file: Path) -> Iterator[None]:
    """Errors within the block name the file before their field."""
    try:
        yield
    except ConsortError as error:
        error.field = f"{file}: {error.field}" if error.field else str(file)
        raise


def _first_rule(path: Path) -> Rule:
    """The rule of the metric that a file's first row asks for."""
    for found in read_rows(path):
        return rule_of(inferred(found.row, found.where))
    raise _empty(path)


def _read_parts(files: Mapping[str, Path], rule: Rule) -> dict[str, list[Example]]:
    """The examples of each split; one file for both splits is cut."""
    parts: dict[str, list[Example]] = {"dev": [], "test": []}
    is_shared = len(files) == 2 and files["dev"] == files["test"]
    for split, path in list(files.items())[: 1 if is_shared else 2]:
        own_splits: set[bool] = set()
        for found in read_rows(path):
            row, where = found.row, found.where
            _check_needed(row, rule, where)
            stated = split_of(row, where)
            own_splits.add(stated is not None)
            if len(own_splits) == 2:
                raise BadData("some lines have a split, some have none", field=where, hint="give it to all or to none")
            if not is_shared and stated not in (None, split):
                raise BadData(f"split {stated!r} in the {split} file", field=where, hint="move the line")
            chosen = (stated or ("dev" if zlib.crc32(found.line) % 5 < 2 else "test")) if is_shared else split
            parts[chosen].append(example_of(row, where, found.number))
        if not own_splits:
            raise _empty(path)
    return parts


def _empty(path: Path) -> BadData:
    return BadData("no examples", field=str(path), hint="a task file has at least one line")


def _check_needed(row: Row, rule: Rule, where: str) -> None:
    subjects = ("text",) if "text" in rule.needs else ("prompt", "messages")
    missing = [column for column in rule.needs if row.get(column) is None]
    if not any(row.get(column) is not None for column in subjects):
        missing.append(" or ".join(subjects))
    for column in dict.fromkeys(missing):
        hint = f"the metric {rule.name} needs it in every line"
        raise BadData(f"the column {column} is missing", field=where, hint=hint)


def _subject(example: Example) -> str:
    return _digest([example.prompt, example.messages, example.text, example.choices])


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _warn_of_contamination(task: Task) -> None:
    seen = {_subject(e) for e in task.dev}
    both = [e.line for e in task.test if _subject(e) in seen]
    if both:
        lines = ", ".join(map(str, both[:10])) + (", …" if len(both) > 10 else "")
        log.warning(
            "task %s: %d of %d test prompts are also in dev (test lines %s)",
            task.name,
            len(both),
            len(task.test),
            lines,
        )
