"""Cached answers of two models, each right on its own kind of prompt: runs over them take a moment."""

from __future__ import annotations

import json
import random

import pytest


def write_table(path, models=("a", "b"), rows=120, right=lambda i, name: float((i % 2 == 0) == (name == "a"))):
    """A table of `rows` prompts of two kinds with the score that `right(i, name)` gives each model."""
    lines = [
        {"prompt": f"{('add', 'say')[i % 2]} {i}", "scores": {name: right(i, name) for name in models}}
        for i in range(rows)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def coin(seed, chance=0.5):
    """Scores that nothing foretells."""
    draw = random.Random(seed)
    return lambda i, name: float(draw.random() < chance)


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "t.jsonl")
