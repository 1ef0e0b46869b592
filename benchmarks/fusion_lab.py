"""Fusion on the lab's facts, half of which are told wrongly: pivot, teachers, control, one student of all, pairs + SCE.

    python benchmarks/fusion_lab.py [--seeds 0 1 2] [--work FOLDER] [--modes together pairwise] [--map NAME] [--unit ..]

Two teachers of other architectures and tokenizers know half of a table of invented facts each, the pivot knows neither
half. Each fact is told six times, three times with one and the same wrong value; control and students learn from these
texts for 200 steps of 48. Scores are exact match on a phrasing that is not among the six, with a paired bootstrap
interval of the difference from the control. Seed 0 takes the bundled models, another seed trains its own first.
Killed and run again on the same `--work` it goes on. A seed takes a core about 4 minutes, and more to train its models.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from consort import lab
from consort.evaluate import Result, compare
from consort.evaluate.comparison import System
from consort.lab.build import build
from consort.lab.facts import table
from consort.recipes.fusechat.run import Fused, fuse

WRONG, TOLD = 3, 6
TRAIN = {"steps": 200, "batch": 48, "part": 48, "lr": 1e-3, "lam": 0.3, "warmup": 0.1}
SAME = {name: name for name in ("pivot", "teacher-north", "teacher-south", "control")}
MODES = {"together": "together", "pairwise": "pairwise + SCE"}
NAMES = (*SAME, *MODES.values())


def half_wrong(zoo: Path, seed: int) -> list[dict[str, str]]:
    """The lab's statements by country; of each fact three are told with one wrong value."""
    facts = {fact.country: fact.group for fact in table(seed)}
    relations = {fact.relation for fact in table(seed)}
    told: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in (zoo / "tasks" / "facts" / "train.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        words = row["prompt"].split()
        key = next(w for w in words if w in facts), next(w for w in words if w in relations)
        told.setdefault(key, []).append(row)
    rng, found = random.Random(f"{seed}:contradictions"), []
    for (country, relation), rows in told.items():
        values = {row["target"] for key, others in told.items() if key[1] == relation for row in others}
        error = rng.choice(sorted(values - {rows[0]["target"]}))
        wrong = set(rng.sample(range(TOLD), WRONG))
        found += [
            {"prompt": row["prompt"], "target": error if i in wrong else row["target"], "group": country}
            for i, row in enumerate(rows)
        ]
    return found


def choice_rate(fused: Fused, seed: int) -> tuple[int, int]:
    """For how many of the countries MinCE chose the teacher that knows them, and of how many."""
    knows = {fact.country: f"teacher-{fact.group}" for fact in table(seed)}
    winners = {country: max(counts, key=lambda name: counts[name]) for country, counts in fused.chosen.items()}
    return sum(knows[country] == name for country, name in winners.items()), len(winners)


def results(fused: Fused, call: Mapping[str, str]) -> list[Result]:
    """The results of a run's systems under the names of this table."""
    systems = fused.comparison.systems if fused.comparison else ()
    return [replace(s.result, model=call[s.result.model]) for s in systems if s.result.model in call]


def one_seed(
    seed: int, work: Path, modes: Sequence[str], sections: Mapping[str, Any]
) -> tuple[Sequence[System], tuple[int, int]]:
    """All systems of a seed beside the control, and how often MinCE was right."""
    zoo = lab.path("pivot").parent if seed == 0 else build(work / f"zoo-{seed}", seed, ["facts"])
    corpus = work / f"corpus-{seed}.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in half_wrong(zoo, seed)), "utf-8")
    plan = {
        "pivot": str(zoo / "pivot"),
        "sources": [str(zoo / "teacher-north"), str(zoo / "teacher-south")],
        "corpus": str(corpus),
        "task": str(zoo / "tasks" / "facts"),
        "control": True,
        "seed": seed,
        "collect": {"block": 128},
        "train": TRAIN,
    } | sections
    found: dict[str, Result | None] = dict.fromkeys(NAMES)
    for mode in modes:
        fused = fuse(plan | {"mode": mode}, work / f"run-{seed}")
        found |= {result.model: result for result in results(fused, SAME | {"fused": MODES[mode]})}
    ranked = [result for result in found.values() if result is not None]
    return compare(ranked, reference="control", seed=seed).systems, choice_rate(fused, seed)


def told(system: System) -> str:
    if system.difference is None:
        return f"{system.score:.3f}"
    low, high = system.difference.interval
    return f"{system.score:.3f} ({system.difference.value:+.3f} [{low:+.3f}, {high:+.3f}])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "fusion-lab")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--map", help="the vocabulary map, else the default")
    parser.add_argument("--unit", default="group")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    sections: dict[str, Any] = {"fuse": {"unit": given.unit}} | ({"align": {"map": given.map}} if given.map else {})
    for seed in given.seeds:
        systems, (right, of) = one_seed(seed, given.work, given.modes, sections)
        print(
            f"seed {seed}: exact match (difference from the control, 95 % interval); {systems[0].result.count} prompts"
        )
        for system in systems:
            print(f"  {system.result.model:16} {told(system)}")
        print(f"  MinCE chose the right teacher for {right} of {of} countries", flush=True)


if __name__ == "__main__":
    main()
