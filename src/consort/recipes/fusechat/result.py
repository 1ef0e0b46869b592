"""The last stages of a fusion: the students become one model, and all models of the run are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError
from consort.core.journal import Journal, key_of
from consort.data import Task
from consort.evaluate import Comparison, Result, compare, evaluate
from consort.models.hf.loading import load_model
from consort.plan.build import Builder
from consort.plan.expression import Reference, dump, parse
from consort.recipes.fusechat.preference import BEST, PREFERRED
from consort.recipes.fusechat.rows import CONTROL
from consort.recipes.fusechat.setup import Run
from consort.weights import write
from consort.weights.stats import fingerprint

MODEL, FUSED = "model", "fused"

Records = Sequence[Mapping[str, Any]]


def is_record(record: Mapping[str, Any]) -> bool:
    """Whether a line of the journal is one that a fusion wrote."""
    if isinstance(record.get("model"), str):
        return True
    try:
        Result.from_json(record.get("result"))
    except ConsortError:
        return False
    return isinstance(record.get("key"), str)


def merged(run: Run, students: Mapping[str, Path], done: Records, journal: Journal) -> Path:
    """The result: the students merged over the pivot, the last or only one as it is; in the pivot's dtype."""
    ends = [path for name, path in students.items() if name not in (CONTROL, BEST)]
    folders, base = [str(path) for path in ends], dump(run.plan.pivot)
    names = [path.name for path in ends]
    expression = run.plan.merged(folders, base) if len(folders) > 1 else folders[0]
    key = key_of([run.plan.merge, names, run.pivot.stamp])
    out = run.out / MODEL
    if not out.is_dir() or [r["model"] for r in done if "model" in r][-1:] != [key]:
        seed, pivot = run.plan.settings.seed, run.pivot.checkpoint
        made = Builder(seed).build(parse({"plan": expression}).root, "checkpoint")
        dtype = next(s.dtype for s in map(pivot.spec, pivot.keys()) if s.dtype.is_floating_point)
        expression = run.plan.merged(names, base) if len(folders) > 1 else names[0]
        write(made, out, out_dtype=dtype, plan=expression, seed=seed, force=True)
        journal.append({"model": key})
    return out


def measured(run: Run, model: Path, students: Mapping[str, Path], done: Records, journal: Journal) -> Comparison | None:
    """All models of the run on the plan's task, compared with the control, or else with the pivot."""
    if run.task is None:
        return None
    known = {record["key"]: record["result"] for record in done if "result" in record}
    called = {name: name if name == CONTROL else f"{name} student" for name in students if name != PREFERRED}
    systems: dict[str, Path] = {FUSED: model} | {label: students[name] for name, label in called.items()}
    results = []
    for name, path in systems.items():
        stamp = fingerprint(run.builder.build(Reference(str(path)), "checkpoint"))
        load = lambda path=path: load_model(path)  # noqa: E731
        results.append(_result(run, run.task, name, stamp, load, known, journal))
    for opened in run.models:
        load = lambda opened=opened: opened.load("float32")  # noqa: E731
        results.append(_result(run, run.task, opened.name, opened.stamp, load, known, journal))
    reference = CONTROL if run.plan.settings.control else run.pivot.name
    return compare(results, reference=reference, seed=run.plan.settings.seed)


def _result(
    run: Run,
    task: Task,
    name: str,
    stamp: str,
    load: Callable[[], Any],
    known: Mapping[str, Any],
    journal: Journal,
) -> Result:
    """A model's score: the journal's, or measured now."""
    key = key_of([stamp, task.key])
    if key in known:
        return replace(Result.from_json(known[key]), model=name)
    result = evaluate(load(), task, split="test", seed=run.plan.settings.seed, keep_answers=True)
    journal.append({"key": key, "name": name, "result": result.to_json()})
    return replace(result, model=name)
