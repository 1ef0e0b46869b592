"""A task: examples to tune on (dev), examples to report on (test), a metric, and how to generate.

Read from one JSONL file, a YAML file, a folder with `task.yml`, or a JSON file with `dev` and `test`, as Model Swarms
has them (data/swarm_file.py). A single JSONL file without `split` columns is cut by crc32(line) % 5: 0 and 1 are dev,
the rest test. Where no metric is named it follows from the first line: `choices` choice, `text` perplexity, `target`
exact_match.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from consort.core.errors import BadData, BadParameter, ConsortError, UnknownName, did_you_mean
from consort.core.params import Range, bind, params_of
from consort.core.types import Example
from consort.data.rows import SPLITS, Row, example_of, parse_row, read_lines, split_of
from consort.data.swarm_file import read_document, rows_of
from consort.data.yaml import load_yaml

log = logging.getLogger(__name__)

TASK_FILE = "task.yml"
DEFAULT_METRIC = {"choices": "choice", "text": "perplexity", "target": "exact_match"}
NEEDED = {
    "abstain": ("choices", "answer"),
    "bleu": ("target",),
    "choice": ("choices", "answer"),
    "code": ("target",),
    "contains": ("target",),
    "exact_match": ("target",),
    "multiple_choice": ("choices", "answer"),
    "numeric": ("target",),
    "perplexity": ("text",),
    "quality": (),
    "token_f1": ("target",),
}
PLANNED = ("judge", "reward")
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
PARTS = (*SPLITS, "fit", "held_out")


@dataclass(frozen=True, slots=True)
class Options:
    """How the model is asked. `max_length` counts tokens with the beginning-of-text token that `bos` asks for.

    `tolerance` is relative, for `numeric`; `timeout_s` bounds the run of one program, for `code`; of `last_words` words
    at the end `contains` looks at nothing else (0: at all). `stop` strings end the answer and are not part of it.
    """

    max_tokens: Annotated[int, Range(1, 1000000)] = 64
    stop: Sequence[str] = ()
    bos: bool = True
    max_length: Annotated[int, Range(2, 1000000)] = 256
    tolerance: Annotated[float, Range(0, 1)] = 1e-6
    timeout_s: Annotated[float, Range(0.1, 3600)] = 10.0
    last_words: Annotated[int, Range(0, 1000000)] = 0


@dataclass(frozen=True, slots=True)
class Task:
    """Checked examples with all the columns that `metric` needs. `load_task` makes one."""

    name: str
    metric: str
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    options: Options = Options()

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
        return _digest([self.metric, asdict(self.options), key_of_examples(self.dev), key_of_examples(self.test)])


def key_of_examples(examples: Sequence[Example]) -> str:
    """A hash of examples in order, whatever file and line they stand in."""
    return _digest([asdict(e) | {"line": 0} for e in examples])


def load_task(path: Path | str, *, allow_code: bool = False) -> Task:
    """The task of a JSONL file, a YAML file, a folder with `task.yml`, or a JSON file with `dev` and `test`.

    A metric that is a function, which could be any on this machine, is refused unless `allow_code`.

    Raises BadData (with file and line), UnknownName for a metric, BadParameter for an option out of range. The same
    prompt in dev and test is reported as a warning in the log.
    """
    path = Path(path)
    if path.is_dir() or path.suffix in (".yml", ".yaml"):
        task = _from_yaml(path, allow_code)
    else:
        document = read_document(path)
        task = _from_jsonl(path) if document is None else _from_document(path, document)
    if not task.dev and not task.test:
        raise BadData("no examples", field=str(path), hint="a task has at least one line")
    _warn_of_contamination(task)
    return task


def _from_jsonl(path: Path) -> Task:
    parts, metric = _read_parts({"dev": path, "test": path}, None)
    return Task(path.stem, metric, parts["dev"], parts["test"])


def _from_document(path: Path, document: Mapping[str, Any]) -> Task:
    metric, options, rows = rows_of(document, path.name)
    dev, test = (
        tuple(example_of(row, f"{path.name}: {name}[{i}]", i + 1) for i, row in enumerate(rows[name]))
        for name in SPLITS
    )
    return Task(path.stem, metric, dev, test, Options(**options))


def _from_yaml(path: Path, allow_code: bool) -> Task:
    file = path / TASK_FILE if path.is_dir() else path
    if not file.is_file():
        raise BadData("no such file", field=str(file), hint=f"a task folder has a {TASK_FILE}")
    settings = load_yaml(file, error=BadData)
    if not isinstance(settings, dict) or not settings:
        raise BadData("not a mapping", field=str(file), hint="write dev:, test: and metric:")
    try:
        files, metric, options = _checked(settings)
        _check_consent(metric, allow_code)
    except ConsortError as error:
        error.field = f"{file}: {error.field}" if error.field else str(file)
        raise
    parts, metric = _read_parts({name: file.parent / f for name, f in files.items()}, metric)
    return Task(path.resolve().name if path.is_dir() else path.stem, metric, parts["dev"], parts["test"], options)


def _checked(settings: dict[Any, Any]) -> tuple[dict[str, str], str | None, Options]:
    params = params_of(Options, positional=True)
    known = (*SPLITS, "metric", *(p.name for p in params))
    for key in settings:
        if key not in known:
            raise BadData(f"unknown key {key!r}", hint=did_you_mean(str(key), known))
    files = {name: settings[name] for name in SPLITS if settings.get(name) is not None}
    for name, file in files.items():
        if not isinstance(file, str):
            raise BadData(f"{file!r} is not a path", field=name, hint="give one JSONL file")
    if not files:
        raise BadData("neither dev: nor test:", hint="name at least one JSONL file")
    metric = settings.get("metric")
    given = {name: value for name, value in settings.items() if name not in (*SPLITS, "metric")}
    return files, None if metric is None else check_metric(metric), _options(given)


def _options(given: dict[str, Any]) -> Options:
    if isinstance(given.get("stop"), str):
        given = given | {"stop": [given["stop"]]}
    options = Options(**bind("a task", params_of(Options, positional=True), given))
    if "" in options.stop:
        raise BadParameter("an empty string cannot end an answer", field="stop", hint="give non-empty strings")
    return options


def check_metric(name: Any) -> str:
    """The name itself if it is a metric's or a `package.module:function`; raises UnknownName."""
    if isinstance(name, str) and (name in NEEDED or FUNCTION.fullmatch(name)):
        return name
    if name in PLANNED:
        hint = f"use {', '.join(sorted(NEEDED))} or package.module:function"
        raise UnknownName(f"the metric {name!r} is not available yet", field="metric", hint=hint)
    raise UnknownName(f"no metric named {name!r}", field="metric", hint=did_you_mean(str(name), NEEDED))


def _check_consent(metric: str | None, allow_code: bool) -> None:
    if metric == "code" and not allow_code:
        hint = "it runs in a sandbox; if that will do, pass --allow-task-code (allow_code=True)"
        raise BadData("grading runs what models write", field="metric", hint=hint)
    if metric is not None and ":" in metric and not allow_code:
        hint = "where you trust the task and that code, pass --allow-task-code (allow_code=True)"
        raise BadData(f"{metric!r} is code, which a task does not run by itself", field="metric", hint=hint)


def _read_parts(files: dict[str, Path], metric: str | None) -> tuple[dict[str, tuple[Example, ...]], str]:
    """The examples of each split and the metric, given or inferred; one file for both splits is cut."""
    parts: dict[str, list[Example]] = {"dev": [], "test": []}
    is_shared = len(files) == 2 and files["dev"] == files["test"]
    for split, path in list(files.items())[: 1 if is_shared else 2]:
        own_splits: set[bool] = set()
        for number, line in read_lines(path):
            where = f"{path.name}:{number}"
            row = parse_row(line, where)
            metric = metric or _infer(row, where)
            _check_needed(row, metric, where)
            stated = split_of(row, where)
            own_splits.add(stated is not None)
            if len(own_splits) == 2:
                raise BadData("some lines have a split, some have none", field=where, hint="give it to all or to none")
            if not is_shared and stated not in (None, split):
                raise BadData(f"split {stated!r} in the {split} file", field=where, hint="move the line")
            chosen = (stated or ("dev" if zlib.crc32(line) % 5 < 2 else "test")) if is_shared else split
            parts[chosen].append(example_of(row, where, number))
        if not own_splits:
            raise BadData("no examples", field=str(path), hint="a task file has at least one line")
    return {name: tuple(examples) for name, examples in parts.items()}, metric or "exact_match"


def _infer(row: Row, where: str) -> str:
    for column, metric in DEFAULT_METRIC.items():
        if row.get(column) is not None:
            return metric
    raise BadData("no target, choices or text", field=where, hint="add a target, or name a metric: in a YAML file")


def _check_needed(row: Row, metric: str, where: str) -> None:
    subjects = ("text",) if metric == "perplexity" else ("prompt", "messages")
    missing = [c for c in NEEDED.get(metric, ()) if row.get(c) is None]
    if not any(row.get(c) is not None for c in subjects):
        missing.append(" or ".join(subjects))
    for column in dict.fromkeys(missing):
        raise BadData(
            f"the column {column} is missing", field=where, hint=f"the metric {metric} needs it in every line"
        )


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
