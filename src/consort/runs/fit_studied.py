"""Fit a strategy that studies its own mistakes: run it plainly, let it study, keep it if held-out examples say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from consort.core.files import write_json
from consort.core.journal import Journal, key_of
from consort.data import Task
from consort.evaluate import evaluate, gate
from consort.evaluate.measure import prompt_of
from consort.plan.expression import Plan, dump
from consort.runs.fitted import written_beside_its_model

STATE_FILE = "state.json"


def fit_studied(
    read: Plan, strategy: Any, task: Task, source: str, out: str | Path, *, seed: int, force: bool
) -> dict[str, Any]:
    """Study the wrong answers of the task's fit half; write plan.yml, state.json and results.json to `out`.

    The strategy is kept if it is not worse than its own model on the held-out half, which it never sees.
    """
    journal = Journal(Path(out), key_of([dump(read), source, task.key, seed]), force=force)
    journal.open()
    with journal.discarded_if_refused():
        fit, held_out = task.split("fit", seed=seed), task.split("held_out", seed=seed)
        plain = evaluate(strategy.model, task, split="fit", seed=seed, keep_answers=True)
        studied, report = strategy.study(
            [prompt_of(e) for e in fit],
            plain.answers,
            [e.target[0] if e.target else "" for e in fit],
            [score > 0.5 for score in plain.scores],
            held_out=[prompt_of(e) for e in held_out],
        )
        single = evaluate(strategy.model, task, split="held_out", seed=seed)
        decision = gate(evaluate(studied, task, split="held_out", seed=seed), single, seed=seed)
    root: Any = read.root
    if decision.kept:
        write_json(journal.folder / STATE_FILE, {"kind": "salam", "values": studied.values})
        root = replace(root, arguments={**root.arguments, "state": STATE_FILE})
    else:
        root = root.arguments["model"]
    told = {
        "kept": decision.kept,
        "rule": "mean",
        "fit_examples": len(fit),
        "held_out_examples": decision.count,
        "data": source,
        "state": STATE_FILE if decision.kept else None,
        **report,
    }
    return written_beside_its_model(journal.folder, replace(read, root=root), task, single, decision, told, seed=seed)
