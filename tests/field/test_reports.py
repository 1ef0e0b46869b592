"""Reports as newcomers meet them: every kind of run has one (D9), with prompts, targets and all answers (D11)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import consort
from consort.cli.border import run
from consort.merge.collect.run import collect
from consort.plan import load
from consort.recipes.auto.run import auto
from consort.runs.fit import fit
from consort.runs.reporting import report
from consort.runs.status import status_of


def table_of(path):
    rows = [
        {
            "prompt": f"{('add', 'say')[i % 2]} {i} <&>",
            "answers": {"a": "yes" if i % 2 == 0 else "no\x07", "b": "yes" if i % 2 else "no"},
            "scores": {"a": float(i % 2 == 0), "b": float(i % 2)},
        }
        for i in range(160)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_D11_prompt_target_answers_and_who_answered(tmp_path):
    table = table_of(tmp_path / "t.jsonl")
    auto([f"table:{table}#a", f"table:{table}#b"], task=f"table:{table}", out=tmp_path / "run")
    html = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "add 0 &lt;&amp;&gt;" in html or "say 1 &lt;&amp;&gt;" in html
    assert "Answers side by side" in html and "Who answered" in html and "answers given" in html
    assert "no\\x07" in html and "\x07" not in html
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    winner = next(r for r in found["test"] if r["model"] == "winner")
    assert {d["chosen"] for d in winner["details"]} <= {"a", "b"} and len(winner["details"]) == len(
        found["examples"]["test"]
    )


def test_D9_a_merged_folder_has_a_report(tmp_path, capsys):
    (tmp_path / "plan.yml").write_text("{ties: {models: [lab:order, lab:mirror], base: lab:base, density: 0.3}}")
    assert run(["merge", str(tmp_path / "plan.yml"), str(tmp_path / "merged")]) == 0
    capsys.readouterr()
    assert run(["report", str(tmp_path / "merged")]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text()
    digest = json.loads((tmp_path / "merged" / "merge_manifest.json").read_text())["inputs"][0]["sha256"]
    assert "What was merged" in page and "density: 0.3" in page and digest["config.json"] in page
    assert consort.load(str(tmp_path / "merged")).keys()  # the folder is a model as before
    (tmp_path / "merged" / "merge_manifest.json").write_text("{")
    assert run(["report", str(tmp_path / "merged")]) == 2
    assert "merge_manifest.json: not JSON" in capsys.readouterr().err


def test_D9_a_fit_and_a_collection_have_reports(tmp_path):
    table, plan = table_of(tmp_path / "t.jsonl"), tmp_path / "plan.yml"
    plan.write_text(json.dumps({"knn": {"models": [f"table:{table}#a", f"table:{table}#b"], "k": 3}}))
    fit(plan, tmp_path / "fitted", table=table)
    collect("gram", load("lab:mirror"), ["mirror a b c = c b a"], tmp_path / "stats")
    for folder, says in (("fitted", "How it was fitted"), ("stats", "What was collected")):
        assert says in report([tmp_path / folder], tmp_path / f"{folder}.html").read_text("utf-8")
        assert status_of(tmp_path / folder).state == "finished"


@pytest.mark.parametrize("version", [0, 2, "1", True, None])
def test_results_of_another_schema_are_refused_by_name(tmp_path, version):
    from consort.core.errors import BadData

    (tmp_path / "results.json").write_text(json.dumps({"schema": version, "consort": "9.9", "verb": "auto"}))
    with pytest.raises(BadData, match=r"schema.*consort 9\.9.*reads schema 1"):
        report([tmp_path])
