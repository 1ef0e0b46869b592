"""Two experts of the lab, their base, and a few passages of their tasks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import consort as c
from consort import lab
from consort.merge.collect.run import at_work
from consort.merge.trained.passages import encoded, read_passages
from consort.merge.trained.weighing import Deltas

NAMES = ("mirror", "order")


@pytest.fixture(scope="session")
def pair():
    """models, base, their task arithmetic (`merged`), the module at work, deltas, lines and passages of both tasks."""
    models, base = [c.load(f"lab:{name}") for name in NAMES], c.load("lab:base")
    merged = c.merge("task_arithmetic", models, base=base, weight=0.3)
    lines = [line for line in read_passages(lab.path("tasks/skills") / "dev.jsonl") if line.task in NAMES][:40]
    live = at_work(merged, None)
    passages = encoded(lines, live)
    return SimpleNamespace(
        models=models,
        base=base,
        merged=merged,
        live=live,
        lines=lines,
        passages=passages,
        deltas=Deltas(models, base),
    )
