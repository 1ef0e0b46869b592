"""Every verb, as its user would call it, on the bundled models."""

from __future__ import annotations

import io
import json

import pytest

from consort import Completion
from consort.cli.generate import document

MERGE = "{task_arithmetic: {models: [lab:mirror, lab:order], base: lab:base, weight: 0.8}}"
TEAM = f"cascade: {{models: [lab:mirror, {{average: {{models: [lab:order, {MERGE}]}}}}], threshold: 0.7}}"


@pytest.fixture
def plan(tmp_path):
    file = tmp_path / "plan.yml"
    file.write_text(MERGE)
    return file


def test_methods_lists_and_describes(consort):
    listed = json.loads(consort("methods", "--json").out)
    assert {"ties", "average", "cascade"} <= {m["name"] for m in listed}
    ties = json.loads(consort("methods", "ties", "--json").out)
    density = next(p for p in ties["parameters"] if p["name"] == "density")
    assert density["type"] == "float in [0, 1], per model"
    assert "did you mean 'ties'" in consort("methods", "tise").err


def test_doctor_tells_versions_and_extras(consort):
    found = json.loads(consort("doctor", "--json").out)
    assert found["versions"]["torch"] and "train" in found["extras"]
    assert "write access" in consort("doctor").out


def test_lab_path_and_verify(consort):
    assert consort("lab", "path", "base").out.strip().endswith("base")
    assert json.loads(consort("lab", "verify", "--json").out) == {"ok": True}


def test_merge_writes_a_folder_that_generates(consort, plan, tmp_path):
    shown = consort("merge", plan, tmp_path / "out")
    assert (shown.code, shown.out.strip()) == (0, str(tmp_path / "out"))
    assert consort("generate", tmp_path / "out", "mirror a b c =").out.strip() == "c b a"
    manifest = json.loads((tmp_path / "out" / "merge_manifest.json").read_text())
    assert manifest["plan"]["task_arithmetic"]["models"] == ["lab:mirror", "lab:order"]


def test_merge_dry_run_and_print_plan_write_nothing(consort, plan, tmp_path):
    found = json.loads(consort("merge", plan, tmp_path / "out", "--dry-run", "--json").out)
    assert found["parameters"] > 500_000 and found["bytes"] > 0
    assert "task_arithmetic:" in consort("merge", plan, tmp_path / "out", "--print-plan").out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.yml"]


def test_a_plan_is_read_from_standard_input(consort, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdin", io.StringIO(MERGE))
    assert consort("merge", "-", tmp_path / "out").code == 0


def test_generate_runs_nested_strategies_and_tells_their_cost(consort, tmp_path):
    file = tmp_path / "team.yml"
    file.write_text(TEAM)
    shown = consort("generate", file, "order c a b =", "--json", "--max-tokens", 8)
    answer = json.loads(shown.out)
    assert answer["text"].strip() == "a b c" and answer["finish_reason"] == "stop"
    assert len(answer["cost"]) >= 1 and answer["logprob"] < 0
    assert answer["details"]["answered_by"]


def test_generate_reads_a_file_of_prompts(consort, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "mirror a b c ="}\n{"prompt": "mirror d e f ="}\n')
    lines = consort("generate", "lab:mirror", "--prompts", file, "--json").out.splitlines()
    assert [json.loads(line)["text"].strip() for line in lines] == ["c b a", "f e d"]


def test_score_prefers_the_right_continuation(consort, tmp_path):
    file = tmp_path / "pairs.jsonl"
    pairs = [{"context": "mirror a b c =", "continuation": c} for c in (" c b a", " a b c")]
    file.write_text("\n".join(map(json.dumps, pairs)))
    right, wrong = (
        json.loads(line)["logprob"]
        for line in consort("score", "lab:mirror", "--pairs", file, "--json").out.splitlines()
    )
    assert right > -1 > wrong


def test_eval_compares_systems(consort, plan):
    shown = consort("eval", "lab:mirror", "lab:order", plan, "--task", "lab:tasks/skills", "--limit", 80, "--json")
    found = json.loads(shown.out)
    scores = {s["model"]: s["score"] for s in found["systems"]}
    assert scores[str(plan)] > max(scores["lab:mirror"], scores["lab:order"])
    assert "95 % interval" in consort("eval", "lab:mirror", "--task", "lab:tasks/skills", "--limit", 8).out


def test_a_member_without_an_answer_is_told(consort, tmp_path):
    (tmp_path / "one.jsonl").write_text('{"prompt": "p", "answers": {"a": "x"}}\n')
    (tmp_path / "two.jsonl").write_text(
        '{"prompt": "p", "answers": {"b": "y"}}\n{"prompt": "q", "answers": {"b": "z"}}\n'
    )
    members = f"['table:{tmp_path}/one.jsonl#a', 'table:{tmp_path}/two.jsonl#b']"
    (tmp_path / "plan.yml").write_text(f"mbr: {{models: {members}}}")
    shown = consort("generate", tmp_path / "plan.yml", "q")
    assert shown.out == "z\n" and "warning: a gave no answer: no answer to 'q'" in shown.err
    assert consort("generate", tmp_path / "plan.yml", "p").err == ""


def test_a_merge_above_the_memory_that_there_is_is_refused_at_once(consort, plan, refused, tmp_path):
    for more in ([], ["--dry-run"]):
        shown = refused("merge", plan, tmp_path / "out", "--max-memory", "100MB", *more)
        assert "error: max_memory: needs" in shown
    assert "error: --max-memory: 'much' is not a size" in refused(
        "merge", plan, tmp_path / "out", "--max-memory", "much"
    )
    assert consort("merge", plan, tmp_path / "out", "--max-memory", "8GB").code == 0


def test_the_bytes_of_remote_tokens_are_numbers_in_json():
    found = document(Completion("é", details={"spelled": [b"\xc3", b"\xa9"]}))
    assert json.loads(json.dumps(found))["details"] == {"spelled": [[195], [169]]}
