"""Cached answers of two models, each right on its own kind of prompt: runs over them take a moment."""

from __future__ import annotations

import json

import pytest


def _write_table(path, models=("a", "b"), rows=120, right=lambda i, name: float((i % 2 == 0) == (name == "a"))):
    """A table of `rows` prompts of two kinds with the score that `right(i, name)` gives each model."""
    lines = [
        {"prompt": f"{('add', 'say')[i % 2]} {i}", "scores": {name: right(i, name) for name in models}}
        for i in range(rows)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def write_table():
    return _write_table


@pytest.fixture
def table(tmp_path):
    return _write_table(tmp_path / "t.jsonl")
