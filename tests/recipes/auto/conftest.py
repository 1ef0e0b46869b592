"""Tables of cached answers with prices, for runs that take no time."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def priced(tmp_path):
    """A table of rows by a function of their number, `{model: (score, cost)}`; returns its path."""

    def made(row, rows=400, name="t"):
        path = tmp_path / f"{name}.jsonl"
        lines = []
        for i in range(rows):
            told = row(i)
            scores, cost = {m: s for m, (s, _) in told.items()}, {m: p for m, (_, p) in told.items()}
            lines.append({"prompt": f"{'add' if i % 2 else 'say'} {i}", "scores": scores, "cost": cost})
        path.write_text("\n".join(map(json.dumps, lines)))
        return str(path)

    return made
