"""A realistic run, drawn from a seeded generator: eight skills, nine single models, a merge that joins them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consort.core.types import Usage
from consort.evaluate.bootstrap import interval_of
from consort.evaluate.comparison import gate
from consort.evaluate.registry import ratio
from consort.evaluate.result import Result

SKILLS = ("mirror", "order", "shout", "twice", "spin", "next", "edges", "yell")


def result(name: str, skill_rates: Mapping[str, float], split: str, n: int, *, answer: str = "c b a") -> Result:
    """`n` examples a skill, right with the given rates."""
    rng = np.random.default_rng(sum(map(ord, name + split)))
    rows = np.array([(float(rng.random() < skill_rates[s]), 1.0) for s in SKILLS for _ in range(n)])
    groups = {s: float(rows[i * n : (i + 1) * n, 0].mean()) for i, s in enumerate(SKILLS)}
    usage = Usage(9 * len(rows), 5 * len(rows), len(rows), 0.004 * len(rows))
    return Result(
        model=name,
        task="skills",
        split=split,
        metric="exact_match",
        score=float(rows[:, 0].mean()),
        interval=interval_of(rows, ratio),
        statistics=tuple(map(tuple, rows.tolist())),
        examples_key=f"0123456789ab{split[:4]}",
        groups=groups,
        usage=usage,
        cost={name: usage},
        seconds=0.0042 * len(rows),
        answers=tuple(answer if right else "a b c" for right in rows[:, 0]),
    )


def single_rates(name: str) -> dict[str, float]:
    own = {"expert-" + s: s for s in SKILLS}.get(name)
    return {s: 0.96 if s == own else {"shout": 0.3, "yell": 0.02}.get(s, 0.16) for s in SKILLS}


def candidates(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    def one(name: str, method: str, fit: float | None, held: float | None, status: str, note: str) -> dict[str, Any]:
        bounds = None if held is None else [held - 0.06, min(held + 0.06, 1.0)]
        plan = {method: {"models": ["expert-mirror", "…"], "base": "base"}}
        return {"name": name, "method": method, "plan": plan, "fit": fit, "held_out": held, "interval": bounds,
                "status": status, "note": note}  # fmt: skip

    return [
        one("expert-shout", "single", 0.41, 0.408, "rejected", "the best single model; the fallback"),
        one("average", "linear", 0.402, None, "rejected", "below the best single model on fit"),
        one("task_arithmetic(0.6)", "task_arithmetic", 0.932, 0.925, "rejected", "0.018 below the kept one, held out"),
        one(
            "ties(density 0.2, lambda 2)",
            "ties",
            0.955,
            0.943,
            "kept",
            "best on fit; better than expert-shout held out",
        ),
        one("dare(density 0.5)", "dare", 0.871, None, "rejected", "below ties and task arithmetic on fit"),
        one("vote(all)", "vote", 0.189, None, "rejected", "most members do not know most skills"),
        one("router(prompt)", "knn_router", 0.928, 0.93, "rejected", "close, and costs eight models in memory"),
        one("slerp", "slerp", None, None, "failed", "takes two models, nine were given"),
    ]


def run(*, wins: bool = True) -> dict[str, Any]:
    names = ["base", *("expert-" + s for s in SKILLS)]
    winner_name = "ties(density 0.2, lambda 2)"
    rates = dict.fromkeys(SKILLS, 0.945) | {"yell": 0.9, "twice": 0.97}
    if not wins:
        rates = dict.fromkeys(SKILLS, 0.2)
    held = [result(n, single_rates(n), "held_out", 12) for n in names]
    best = max(held, key=lambda r: r.score)
    decision = gate(result(winner_name, rates, "held_out", 12), best)
    kept = decision.kept
    tested = [result(n, single_rates(n), "test", 40) for n in names]
    rng = np.random.default_rng(5)
    climb = 0.955 - 0.55 * np.exp(-np.arange(40) / 7) * rng.uniform(0.6, 1.5, 40)
    steps = [{"name": f"#{i}", "score": None if i == 11 else round(float(s), 4)} for i, s in enumerate(climb)]
    plan = {"ties": {"models": names[1:], "base": "base", "density": 0.2, "lambda": 2}}
    return {
        "schema": 1,
        "consort": "0.1.0",
        "verb": "auto",
        "task": {"name": "skills", "metric": "exact_match", "key": "9f3c51d0a7be2468", "dev": 200, "test": 320,
                 "fit": 100, "held_out": 100},
        "seed": 0,
        "base": "base",
        "notes": ["the plan vote(all) was not searched further"],
        "singles": [r.to_json() for r in held],
        "singles_fit": {n: 0.41 if n == best.model else 0.3 for n in names},
        "candidates": candidates(steps),
        "decision": decision.to_json(),
        "winner": {
            "name": winner_name if kept else best.model,
            "kind": "merge" if kept else "single",
            "plan": plan if kept else f"hf: {best.model}\n",
            "path": "winner",
            "coefficients": {"weight": {n: round(0.9 + 0.35 * float(np.sin(i)), 2) for i, n in enumerate(names[1:])}}
            if kept
            else {},
        },
        "test": [r.to_json() for r in tested] + ([result(winner_name, rates, "test", 40).to_json()] if kept else []),
        "search": steps,
        "provenance": {
            "plan": plan,
            "seed": 0,
            "inputs": [{"name": n, "sha256": f"{i:02x}" * 32, "dtype": "float32"} for i, n in enumerate(names)],
            "versions": {"python": "3.11.7", "consort": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6", "ray": None},
        },
    }  # fmt: skip


@pytest.fixture
def run_json() -> dict[str, Any]:
    """The sample run in which a merge wins."""
    return run()


@pytest.fixture
def lost_json() -> dict[str, Any]:
    """The sample run in which the best single model stays."""
    return run(wins=False)


@pytest.fixture
def write(tmp_path):
    """Write a value as results.json into a folder; returns the folder."""

    def to_file(value: Any) -> Path:
        (tmp_path / "results.json").write_text(json.dumps(value), encoding="utf-8")
        return tmp_path

    return to_file
