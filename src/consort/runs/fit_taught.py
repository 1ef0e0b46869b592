"""Fit a strategy that is taught by prompts and answers (soft prompts): train it, keep it if held-out answers say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadData
from consort.core.journal import Journal, key_of
from consort.data import Task
from consort.evaluate import evaluate, gate
from consort.evaluate.measure import prompt_of
from consort.plan.expression import Plan, dump
from consort.runs.fitted import written_beside_its_model

STATE_FILE = "soft.safetensors"


def fit_taught(
    read: Plan, strategy: Any, task: Task, source: str, out: str | Path, *, seed: int, force: bool
) -> dict[str, Any]:
    """Teach with the task's fit half; write plan.yml, what was learned and results.json to `out`.

    The strategy is kept if it is not worse on the held-out half than its own model with the whole prompt. A killed run
    goes on at the step it last wrote down. Raises BadData for a task without targets.
    """
    journal = Journal(Path(out), key_of([dump(read), source, task.key, seed]), force=force)
    journal.open()
    with journal.discarded_if_refused():
        fit = task.split("fit", seed=seed)
        taught = [(*strategy.divided(prompt_of(e)), e.target[0]) for e in fit if e.target]
        if not taught:
            raise BadData("has no targets to learn from", field=source, hint='lines need "target"')
        loss = strategy.learn(taught, journal.folder / STATE_FILE, seed=seed)
        single = evaluate(strategy.model, task, split="held_out", seed=seed)
        decision = gate(evaluate(strategy, task, split="held_out", seed=seed), single, seed=seed)
    root: Any = read.root
    root = (
        replace(root, arguments={**root.arguments, "state": STATE_FILE}) if decision.kept else root.arguments["model"]
    )
    told = {
        "kept": decision.kept,
        "rule": "mean",
        "fit_examples": len(taught),
        "held_out_examples": decision.count,
        "data": source,
        "state": STATE_FILE,
        "loss": loss,
    }
    return written_beside_its_model(journal.folder, replace(read, root=root), task, single, decision, told, seed=seed)
