"""Model Swarms on the lab zoo: the swarm and every baseline, the swarm from scaled task vectors, a harmful expert, and
the studies of the paper; every figure with its seed.

    python benchmarks/swarms.py FOLDER [--only PART…] [--table]

Writes one JSON line for each part to FOLDER/figures.jsonl; PART is the beginning of a part's name, as `paper exact`.
Called again it goes on where it was. `--table` prints the figures of the folder instead.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from consort.data import Task, load_task
from consort.lab import path
from consort.recipes.model_swarms.study import BASELINES, Study, model_swarms
from consort.search.swarm.analysis import copies, weak_to_strong, weaker_half

SKILLS = ("mirror", "order", "shout", "twice", "next", "spin", "yell", "edges")
SETTING = {"particles": 14, "iterations": 10}
LONG = {"particles": 20, "iterations": 50}
"""The paper's numbers of particles and iterations."""
TRIALS = 5
"""Runs with hyper-parameters drawn from the paper's lists, of which the best by dev counts: the paper's protocol."""
DEV, TEST = 64, 300
SEEDS = (0, 1, 2)
ONCE = ("greedy soup", "evolutionary merge", "lorahub", "random search")
"""Baselines that depend on the seed."""
QUICK = ("uniform soup", "slerp of two best", "dare-ties", "model stock")
CHEAP = (*QUICK, "prediction ensemble", "greedy soup", "lorahub")
DISTINCT = (1, 2, 5, 8)
"""Experts of the diversity study; the lab has eight adapters, so the last is eight and two of them once more."""
WEAK = ("order", "twice", "next", "spin")
"""The lower half of the adapters on the dev examples; `check_weak` compares."""
FIGURES = "figures.jsonl"


@dataclass(frozen=True)
class Part:
    """One run of the recipe; `seed` is the last word of its name."""

    name: str
    experts: Sequence[str]
    kind: str
    task: Task
    baselines: Sequence[str] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return int(self.name.rpartition(" ")[2])


def of_kind(kind: str, names: Sequence[str] = SKILLS) -> list[str]:
    return [f"lab:{'' if kind == 'full' else 'lora-'}{name}" for name in names]


def grouped(task: Task, *groups: str) -> Task:
    """The task's examples of some groups."""
    kept = {split: tuple(e for e in getattr(task, split) if e.group in groups) for split in ("dev", "test")}
    return replace(task, **kept)


def drawn(distinct: int, seed: int) -> list[str]:
    """Ten starts that are so many experts, drawn by seed, and copies of them."""
    names = random.Random(seed).sample(SKILLS, distinct)
    return [names[i] for i in copies(distinct)] if 10 % distinct == 0 else [*names, *names[: 10 - distinct]]


def parts() -> Iterator[Part]:
    task = load_task(path("tasks/skills"))
    task = replace(task, test=task.test[:TEST])
    one, two = grouped(task, "mirror"), grouped(task, "mirror", "order")
    exact, full = of_kind("exact"), of_kind("full")
    for seed in SEEDS:
        yield Part(f"extra exact {seed}", exact, "exact", task, options={"extra": True})
        yield Part(f"harmful full {seed}", [*full, "lab:harmful"], "full", task, QUICK)
    for kind in ("exact", "full"):
        for seed in SEEDS:
            every = tuple(BASELINES) if seed == 0 else ONCE
            yield Part(f"paper {kind} {seed}", of_kind(kind), kind, task, every)
    for seed in SEEDS:
        yield Part(f"extra full {seed}", full, "full", task, options={"extra": True})
    for seed in SEEDS:
        yield Part(f"one skill {seed}", exact, "exact", one, CHEAP)
        yield Part(f"two skills harmonic {seed}", exact, "exact", two, CHEAP, {"combine": "harmonic"})
    for seed in SEEDS:
        yield Part(f"weak only {seed}", of_kind("exact", WEAK), "exact", task, CHEAP)
        yield Part(f"weak only extra {seed}", of_kind("exact", WEAK), "exact", task, options={"extra": True})
    for distinct in DISTINCT:
        for seed in SEEDS:
            yield Part(f"diversity {distinct} of 10 {seed}", of_kind("exact", drawn(distinct, seed)), "exact", task)
    for seed in SEEDS:
        yield Part(f"long exact {seed}", exact, "exact", task, options=LONG)
    for kind in ("exact", "full"):
        for seed in SEEDS:
            yield Part(f"trials {kind} {seed}", of_kind(kind), kind, task, options={"trials": TRIALS})


def run(part: Part, out: Path) -> Study:
    started = time.time()
    study = model_swarms(
        part.experts,
        task=part.task,
        out=out / part.name.replace(" ", "-"),
        base="lab:base",
        kind=part.kind,
        seed=part.seed,
        baselines=part.baselines,
        **{**SETTING, "limit": DEV, **part.options},
    )
    lines = [line.to_json() for line in study.lines if line.test is not None or line.note]
    seconds = round(time.time() - started)
    record = {"part": part.name, "seconds": seconds, "lines": lines, "analysis": dict(study.analysis)}
    with open(out / FIGURES, "a") as file:
        file.write(json.dumps(record) + "\n")
    return study


def check_weak(study: Study) -> None:
    """Raise ValueError if WEAK is not the lower half of the adapters."""
    lower = [SKILLS[i] for i in weaker_half([line.dev or 0.0 for line in study.lines[: len(SKILLS)]])]
    if set(lower) != set(WEAK):
        raise ValueError(f"the lower half is {lower}")


def table(out: Path) -> Iterator[str]:
    """The figures of a folder in Markdown, the last record of each part, and where the winners had started."""
    records = {r["part"]: r for r in map(json.loads, (out / FIGURES).read_text().splitlines())}
    yield "| part | system | dev | test (95 %) | evaluations | C-surge | C-emerge | started |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, record in records.items():
        done, lines = record["analysis"], [x for x in record["lines"] if not x["name"].startswith("lab:")]
        for line in lines:
            if line["test"] is None:
                yield f"| {name} | {line['name']} | {line['note']} | | | | | |"
                continue
            low, high = line["interval"]
            cells = [name, line["name"], f"{line['dev']:.3f}", f"{line['test']:.3f} [{low:.3f}, {high:.3f}]"]
            last = [done["c_surge"], done["c_emerge"], f"{done['initial_rank']} of {done['particles']}"]
            shown = last if line["name"] == "swarm" else [""] * 3
            text = [f"{x:.3f}" if isinstance(x, float) else "–" if x is None else x for x in shown]
            yield "| " + " | ".join([*cells, str(line["evaluations"]), *text]) + " |"
    several = [r["analysis"] for name, r in records.items() if not name.startswith("diversity 1")]
    found = weak_to_strong([(a["initial_rank"], a["particles"]) for a in several])
    yield f"\n{len(several)} runs: first {found.first:.3f}, lower half {found.lower_half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        print("\n".join(table(given.out)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    for part in parts():
        if part.name.startswith(tuple(given.only)):
            study = run(part, given.out)
            print(part.name, study.line("swarm").dev, flush=True)
            if part.name.startswith("paper exact"):
                check_weak(study)


if __name__ == "__main__":
    main()
