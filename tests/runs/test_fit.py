"""`consort fit` on cached answers: the table that is given decides, by the names of its columns."""

from __future__ import annotations

import json

import pytest

from consort.core.errors import BadData
from consort.runs.fit import fit


def table(path, score):
    rows = [
        {"prompt": f"{('even', 'odd')[i % 2]} {i}", "scores": {name: score(i, name) for name in ("a", "b")}}
        for i in range(120)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def plan(folder, a, b):
    file = folder / "plan.yml"
    file.write_text(json.dumps({"knn": {"models": [a, b], "k": 3}}))
    return file


def test_the_given_table_decides_not_the_members_own(tmp_path):
    own = table(tmp_path / "own.jsonl", lambda i, name: float((i % 2) == (name == "a")))
    flat = table(tmp_path / "flat.jsonl", lambda i, name: 0.5)
    members = plan(tmp_path, f"table:{own}#a", f"table:{own}#b")
    assert fit(members, tmp_path / "one", table=own).report["decision"]["candidate_score"] > 0.9
    assert fit(members, tmp_path / "two", table=flat).report["decision"]["candidate_score"] == 0.5


def test_a_member_without_a_column_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(BadData, match="no column for the member lab:order"):
        fit(
            plan(tmp_path, "lab:order", "lab:mirror"),
            tmp_path / "out",
            table=table(tmp_path / "t.jsonl", lambda i, n: 1.0),
        )
    assert not (tmp_path / "out").exists()
