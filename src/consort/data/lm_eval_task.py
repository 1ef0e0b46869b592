"""Tasks of lm-eval (the EleutherAI harness) as tasks of ours: `lm-eval:NAME`, or `lm-eval:FILE.yaml` for one of yours.

Its prompts, few-shot examples, choices and targets are taken as it makes them; models are asked and graded by consort,
so `auto`, `search` and `fit` can work on them. What would be graded otherwise here than there is refused by name: its
own program runs any consort model (see evaluate/lm_eval.py).

multiple_choice         metric choice, which is its `acc`
generate_until          metric exact_match, where it grades by that and takes answers as they are
loglikelihood_rolling   metric perplexity
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from consort.core.errors import BadData, ConsortError, MissingExtra, UnknownName, Unsupported
from consort.core.types import Example
from consort.data.registry import rule_of
from consort.data.settings import grading_of
from consort.data.task import Task
from consort.data.yaml import load_yaml

PREFIX = "lm-eval:"
WAY_OUT = "python -m consort.evaluate.lm_eval run --model consort --model_args plan=PLAN --tasks NAME"
ALL_OF_IT = ("take_first", "none")
"""Filters that leave an answer as it is."""
MOST_TOKENS = 256


def is_lm_eval(text: str) -> bool:
    """Whether `text` names a task of lm-eval."""
    return text.startswith(PREFIX)


def lm_eval_task(text: str, *, allow_code: bool = False) -> Task:
    """The task that `lm-eval:NAME` or `lm-eval:FILE.yaml` stands for, its documents read by lm-eval.

    Dev are its validation documents (those of training where only they and test or validation ones are there); a task
    of one split is cut in two. A file of yours that calls functions is refused unless `allow_code`.

    Raises MissingExtra, UnknownName, BadData, Unsupported.
    """
    name = text.removeprefix(PREFIX)
    loaded = _loaded(name, allow_code)
    kind = str(loaded.OUTPUT_TYPE)
    if kind not in _READERS:
        raise Unsupported(f"asks by {kind}, which no metric here grades", field=text, hint=WAY_OUT)
    metric = _metric(loaded, kind, text)
    options = _options(loaded) if kind == "generate_until" else {}
    with _read_by_lm_eval(text):
        parts = {
            split: [_READERS[kind](loaded, doc, i + 1) for i, doc in enumerate(docs)]
            for split, docs in _splits(loaded).items()
        }
    grading = grading_of(options, rule_of(metric))
    return Task(name, metric, tuple(parts["dev"]), tuple(parts["test"]), grading.options, grading.own)


def _loaded(name: str, allow_code: bool) -> Any:
    try:
        manager_of = import_module("lm_eval.tasks").TaskManager
    except ImportError as fault:
        hint = 'pip install "consort[eval]"'
        raise MissingExtra(f"lm-eval is not installed: {fault}", field=f"{PREFIX}{name}", hint=hint) from fault
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    file = Path(name)
    with _read_by_lm_eval(f"{PREFIX}{name}"):
        if file.suffix in (".yaml", ".yml"):
            task = _own_name(file, allow_code)
            manager = manager_of(include_path=str(file.absolute().parent), include_defaults=False)
        else:
            task, manager = name, manager_of()
            if task not in manager.all_tasks:
                raise UnknownName(f"lm-eval has no task {task!r}", field=f"{PREFIX}{name}", hint="lm-eval ls tasks")
        found = [one for one in manager.load([task])["tasks"].values() if hasattr(one, "OUTPUT_TYPE")]
    if len(found) != 1:
        hint = "name one of its tasks"
        raise Unsupported(f"is a group of {len(found)} tasks", field=f"{PREFIX}{name}", hint=hint)
    return found[0]


def _own_name(file: Path, allow_code: bool) -> str:
    """The task that a YAML file describes. Raises BadData for one that runs code which was not allowed."""
    if not file.is_file():
        raise BadData("no such file", field=str(file), hint="give the YAML file of a task")
    text = file.read_text("utf-8", "replace")
    if not allow_code and any(word in text for word in ("!function", "trust_remote_code", "custom_dataset")):
        hint = "read that code, then pass --allow-task-code (allow_code=True) if you trust it"
        raise BadData("the task runs code of its own", field=str(file), hint=hint)
    settings = None if "!function" in text else load_yaml(file, error=BadData)
    if settings is None:
        named = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("task:")]
        return named[0] if named else file.stem
    if not isinstance(settings, Mapping) or not isinstance(settings.get("task"), str):
        raise BadData("has no name", field=f"{file}: task", hint="task: NAME")
    return str(settings["task"])


@contextmanager
def _read_by_lm_eval(where: str) -> Iterator[None]:
    """Whatever lm-eval, jinja and datasets raise becomes one error that names the task."""
    try:
        yield
    except ConsortError:
        raise
    except Exception as fault:  # three libraries with errors of their own
        says = " ".join(str(fault).split())[:200]
        hint = "are its data here, or the network in reach?"
        raise BadData(f"lm-eval cannot read it: {type(fault).__name__}: {says}", field=where, hint=hint) from fault


def _metric(task: Any, kind: str, where: str) -> str:
    """Our metric that grades as the task does. Raises Unsupported."""
    named = [entry["metric"] for entry in task.config.metric_list or ()]
    if kind == "multiple_choice":
        return "choice"
    if kind == "loglikelihood_rolling":
        return "perplexity"
    steps = [step["function"] for one in task.config.filter_list or () for step in one["filter"]]
    changed = [step for step in steps if step not in ALL_OF_IT]
    if changed:
        raise Unsupported(f"changes answers by {', '.join(changed)} before it grades them", field=where, hint=WAY_OUT)
    entry = next((entry for entry in task.config.metric_list or () if entry["metric"] == "exact_match"), None)
    if entry is None:
        raise Unsupported(f"grades by {', '.join(map(str, named)) or 'its own'}", field=where, hint=WAY_OUT)
    strange = sorted(key for key in entry if key.startswith(("ignore_", "regexes_")) and entry[key])
    if strange:
        raise Unsupported(f"grades by exact_match with {', '.join(strange)}", field=where, hint=WAY_OUT)
    return "exact_match"


def _options(task: Any) -> dict[str, Any]:
    """How models are asked."""
    given = dict(task.config.generation_kwargs or {})
    until = given.get("until") or []
    most = given.get("max_gen_toks") or given.get("max_new_tokens") or MOST_TOKENS
    return {"stop": [until] if isinstance(until, str) else list(until), "max_tokens": int(most)}


def _splits(task: Any) -> Mapping[str, Sequence[Any]]:
    """The documents of dev and test."""
    there = {
        name: list(getattr(task, f"{name}_docs")())
        for name in ("training", "validation", "test")
        if getattr(task, f"has_{name}_docs")()
    }
    *_, last = there.values() if there else [[]]
    before = [docs for docs in there.values() if docs is not last]
    if before:
        return {"dev": before[-1], "test": last}
    halves: dict[str, list[Any]] = {"dev": [], "test": []}
    for doc in last:
        halves["dev" if zlib.crc32(repr(sorted(doc.items())).encode()) % 5 < 2 else "test"].append(doc)
    return halves


def _prompt(task: Any, doc: Any) -> str:
    found = task.fewshot_context(doc, num_fewshot=task.config.num_fewshot or 0)
    if not isinstance(found, str):
        raise Unsupported("has several prompts for one document", field=task.config.task, hint=WAY_OUT)
    return found


def _choice(task: Any, doc: Any, line: int) -> Example:
    answer = task.doc_to_target(doc)
    choices = list(map(str, task.doc_to_choice(doc)))
    number = choices.index(answer) if isinstance(answer, str) else answer
    if not isinstance(number, int) or not 0 <= number < len(choices):
        raise Unsupported(f"has the answer {answer!r}, not one of its choices", field=task.config.task, hint=WAY_OUT)
    delimiter = str(task.config.target_delimiter)
    return Example(prompt=_prompt(task, doc), choices=tuple(delimiter + c for c in choices), answer=number, line=line)


def _generated(task: Any, doc: Any, line: int) -> Example:
    target = task.doc_to_target(doc)
    targets = tuple(map(str, target)) if isinstance(target, list | tuple) else (str(target),)
    return Example(prompt=_prompt(task, doc), target=targets, line=line)


def _rolled(task: Any, doc: Any, line: int) -> Example:
    return Example(text=str(task.doc_to_target(doc)), line=line)


_READERS: Mapping[str, Callable[[Any, Any, int], Example]] = {
    "multiple_choice": _choice,
    "generate_until": _generated,
    "loglikelihood_rolling": _rolled,
}
