"""Fit a compressor that learns: teach it what helps its reader, keep what it learned if held-out answers say so."""

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

STATE_FILE = "compressor.safetensors"


def fit_compressor(
    read: Plan, strategy: Any, task: Task, source: str, out: str | Path, *, seed: int, force: bool
) -> dict[str, Any]:
    """Teach with the task's fit half; write plan.yml, what was learned and results.json to `out`.

    What was learned is kept if the answers to prompts so shortened are not worse on the held-out half than with the
    compressor as it was. A killed run goes on at the step it last wrote down. Raises BadData without targets.
    """
    journal = Journal(Path(out), key_of([dump(read), source, task.key, seed]), force=force)
    journal.open()
    with journal.discarded_if_refused():
        taught = [(prompt_of(e), e.target[0]) for e in task.split("fit", seed=seed) if e.target]
        if not taught:
            raise BadData("has no targets to learn from", field=source, hint='lines need "target"')
        before = evaluate(strategy, task, split="held_out", seed=seed)
        prompts, answers = [prompt for prompt, _ in taught], [answer for _, answer in taught]
        compressor = strategy.compressor
        learned = compressor.learn(prompts, answers, strategy.model, journal.folder / STATE_FILE, seed=seed)
        decision = gate(evaluate(strategy, task, split="held_out", seed=seed), before, seed=seed)
    root: Any = read.root
    if decision.kept:
        inner = root.arguments["compressor"]
        inner = replace(inner, arguments={**inner.arguments, "state": STATE_FILE})
        root = replace(root, arguments={**root.arguments, "compressor": inner})
    told = {
        "kept": decision.kept,
        "rule": "mean",
        "fit_examples": len(taught),
        "held_out_examples": decision.count,
        "data": source,
        "state": STATE_FILE if decision.kept else None,
        **learned,
    }
    return written_beside_its_model(journal.folder, replace(read, root=root), task, before, decision, told, seed=seed)
