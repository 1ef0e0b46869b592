"""What the parts of `composition.py` measured: lines with intervals, their records on disk, and the table of them.

Intervals are of 95 %: Wilson's of a share, Agresti and Min's of a paired difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from consort.evaluate.bootstrap import difference_interval, interval_of
from consort.evaluate.registry import UNIT, ratio
from consort.lab.measure import Claim

FIGURES = "figures.jsonl"
Marks = Sequence[bool]


@dataclass(frozen=True)
class Line:
    """A system's share of right answers, and its paired difference from another."""

    name: str
    score: float
    interval: tuple[float, float]
    of: int
    against: str = ""
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Found:
    """What a part measured."""

    lines: Sequence[Line]
    claims: Sequence[Claim]
    notes: Mapping[str, Any]


def line(name: str, marks: Marks, other: tuple[str, Marks] | None = None) -> Line:
    """A system's line, beside another where one is given with its name."""
    rows = np.array([[float(mark), 1.0] for mark in marks])
    plain = Line(name, fmean(marks), interval_of(rows, ratio, span=UNIT), len(marks))
    if other is None:
        return plain
    theirs = np.array([[float(mark), 1.0] for mark in other[1]])
    between = difference_interval(rows, theirs, ratio, np.empty(0), UNIT)
    difference = plain.score - fmean(other[1])
    return replace(plain, against=other[0], difference=difference, difference_interval=between)


def recorded(out: Path, part: str, seed: int, cpu_s: float, found: Found) -> dict[str, Any]:
    """The record of a part and seed, written at the end of the folder's file."""
    claims = [{**asdict(claim), "holds": claim.holds} for claim in found.claims]
    record = {"part": part, "seed": seed, "cpu_s": round(cpu_s), "claims": claims}
    record |= {"lines": [asdict(one) for one in found.lines], "notes": dict(found.notes)}
    with open(out / FIGURES, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    return record


def done(out: Path) -> dict[tuple[str, int], Any]:
    """The records of a folder, the last of each part and seed."""
    file = out / FIGURES
    records = [json.loads(text) for text in file.read_text("utf-8").splitlines()] if file.exists() else []
    return {(record["part"], record["seed"]): record for record in records}


def table(out: Path, parts: Sequence[str]) -> Iterator[str]:
    """What is measured, part by part, the seeds side by side; then every claim."""
    records = done(out)
    for part in parts:
        seeds = sorted(seed for name, seed in records if name == part)
        if not seeds:
            continue
        by_seed = [{one["name"]: one for one in records[part, seed]["lines"]} for seed in seeds]
        yield f"\n| {part} | " + " | ".join(f"seed {seed}" for seed in seeds) + " |"
        yield "|---" * (len(seeds) + 1) + "|"
        for name in by_seed[0]:
            yield f"| {name} | " + " | ".join(_cell(lines.get(name)) for lines in by_seed) + " |"
        for number, claim in enumerate(records[part, seeds[0]]["claims"]):
            cells = [records[part, seed]["claims"][number] for seed in seeds]
            verdicts = [told(claim) for claim in cells]
            yield f"| target: {claim['text']} | " + " | ".join(verdicts) + " |"
        yield f"\nCPU seconds: {', '.join(str(records[part, seed]['cpu_s']) for seed in seeds)}; notes: " + json.dumps(
            {seed: records[part, seed]["notes"] for seed in seeds}
        )


def told(claim: Mapping[str, Any]) -> str:
    return f"{'holds' if claim['holds'] else 'MISSED'}: {claim['left']:.3f} >= {claim['right']:.3f}"


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "–"
    text = f"{one['score']:.3f} [{one['interval'][0]:.3f}, {one['interval'][1]:.3f}] of {one['of']}"
    if one["difference"] is None:
        return text
    low, high = one["difference_interval"]
    return f"{text}; {one['difference']:+.3f} [{low:+.3f}, {high:+.3f}] against {one['against']}"
