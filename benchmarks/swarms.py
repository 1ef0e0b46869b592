"""Model Swarms on the lab zoo: the swarm and every baseline, the swarm from scaled task vectors, a harmful expert, and
the studies of the paper; every figure with its seed. Writes one JSON line for each part to the folder given."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from consort.data import load_task
from consort.lab import path
from consort.recipes.model_swarms import BASELINES, Study, model_swarms
from consort.search.analysis import copies, weak_to_strong, weaker_half

SKILLS = ("mirror", "order", "shout", "twice", "next", "spin", "yell", "edges")
SETTING = {"particles": 14, "iterations": 10}
DEV, TEST = 64, 300
SEEDS = (0, 1, 2)
ONCE = ("greedy soup", "evolutionary merge", "lorahub", "random search")
"""Baselines that depend on the seed."""
QUICK = ("uniform soup", "slerp of two best", "dare-ties", "model stock")


def experts(kind: str) -> list[str]:
    return [f"lab:{'' if kind == 'full' else 'lora-'}{name}" for name in SKILLS]


def report(out: Path, part: str, study: Study, started: float) -> None:
    lines = [line.to_json() for line in study.lines if line.test is not None or line.note]
    record = {"part": part, "seconds": round(time.time() - started), "lines": lines, "analysis": dict(study.analysis)}
    with open(out / "figures.jsonl", "a") as file:
        file.write(json.dumps(record) + "\n")


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    task = load_task(path("tasks/skills"))
    task = replace(task, test=task.test[:TEST])
    ranks = []

    def run(part: str, names: list[str], kind: str, seed: int, baselines=(), given=task, **options) -> Study:
        started = time.time()
        folder = out / part.replace(" ", "-")
        settings = {**SETTING, "limit": DEV, **options}
        study = model_swarms(
            names, task=given, out=folder, base="lab:base", kind=kind, seed=seed, baselines=baselines, **settings
        )
        report(out, part, study, started)
        return study

    for seed in SEEDS:
        run(f"extra exact {seed}", experts("exact"), "exact", seed, extra=True)
        run(f"harmful full {seed}", [*experts("full"), "lab:harmful"], "full", seed, QUICK)
    for kind in ("exact", "full"):
        for seed in SEEDS:
            study = run(f"paper {kind} {seed}", experts(kind), kind, seed, tuple(BASELINES) if seed == 0 else ONCE)
            ranks.append((study.analysis["initial_rank"], study.analysis["particles"]))
    found = weak_to_strong(ranks)
    print(json.dumps({"runs": len(ranks), "first": found.first, "lower_half": found.lower_half}), flush=True)
    for seed in SEEDS:
        run(f"extra full {seed}", experts("full"), "full", seed, extra=True)
    dev = [e for e in task.dev if e.group in ("mirror", "order")]
    two = replace(task, dev=tuple(dev), test=tuple(e for e in task.test if e.group in ("mirror", "order")))
    one = replace(
        two, dev=tuple(e for e in dev if e.group == "mirror"), test=tuple(e for e in two.test if e.group == "mirror")
    )
    for seed in SEEDS:
        run(f"one skill {seed}", experts("exact"), "exact", seed, given=one)
        run(f"two skills harmonic {seed}", experts("exact"), "exact", seed, given=two, combine="harmonic")
    singles = [line.dev or 0.0 for line in study.lines[: len(SKILLS)]]
    weak = [experts("exact")[i] for i in weaker_half(singles)]
    for seed in SEEDS:
        run(f"weak only {seed}", weak, "exact", seed)
    for distinct in (1, 2, 5):
        run(f"diversity {distinct}x{10 // distinct}", [experts("exact")[i] for i in copies(distinct)], "exact", 0)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "swarms"))
