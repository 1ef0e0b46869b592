"""`consort fit`, and `consort eval` on cached answers."""

from __future__ import annotations

import json

import pytest

from consort.testing.router_laws import observed


@pytest.fixture
def table(tmp_path):
    data = observed()
    rows = [
        {"prompt": p, "scores": dict(zip(data.models, q, strict=True)), "group": g, "split": "dev" if i % 2 else "test"}
        for i, (p, q, g) in enumerate(zip(data.prompts, data.quality.tolist(), data.groups, strict=True))
    ]
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.fixture
def plan(tmp_path, table):
    file = tmp_path / "plan.yml"
    file.write_text(f'knn: {{models: ["table:{table}#m0", "table:{table}#m1"], k: 3}}')
    return file


def test_fitted_on_a_table_evaluated_and_fitted_again(consort, plan, table, tmp_path):
    out = tmp_path / "out"
    report = json.loads(consort("fit", plan, out, "--table", table, "--json").out)
    assert report["details"]["fit"]["kept"] and report["details"]["fit"]["state"] == "state.safetensors"
    state = (out / "state.safetensors").read_bytes()
    systems = [f"table:{table}#m0", f"table:{table}#m1", out / "plan.yml"]
    shown = consort("eval", *systems, "--task", f"table:{table}", "--json")
    scores = [s["score"] for s in json.loads(shown.out)["systems"]]
    assert scores[2] > max(scores[:2])
    assert consort("fit", plan, out, "--table", table).code == 0
    assert (out / "state.safetensors").read_bytes() == state


def test_a_router_by_knowledge(consort, tmp_path):
    """Cached answers: what the store knows the second column has right, sums the first; half of both is held out."""
    from consort.knowledge import TextIndex

    TextIndex.of([f"The author of book {i} is person {i}" for i in range(80)]).save(tmp_path / "index")
    rows = [
        {"prompt": text, "scores": {"plain": 1.0 - known, "looked": float(known)}, "split": split}
        for i in range(80)
        for known, text in ((1, f"the author of book {i}"), (0, f"please add {i} and {i + 1}"))
        for split in ["dev" if i % 4 else "test"]
    ]
    table, plan = tmp_path / "t.jsonl", tmp_path / "plan.yml"
    table.write_text("\n".join(map(json.dumps, rows)))
    evidence = f"features: {{evidence: {{retriever: {{bm25: {{index: {tmp_path / 'index'}}}}}}}}}"
    plan.write_text(f'ridge: {{models: ["table:{table}#plain", "table:{table}#looked"], {evidence}}}')
    report = json.loads(consort("fit", plan, tmp_path / "out", "--table", table, "--json").out)
    assert report["details"]["fit"]["kept"]
    systems = [f"table:{table}#plain", f"table:{table}#looked", tmp_path / "out" / "plan.yml"]
    shown = json.loads(consort("eval", *systems, "--task", f"table:{table}", "--json").out)
    assert [round(system["score"], 2) for system in shown["systems"]] == [0.5, 0.5, 1.0]


def test_what_was_fitted_may_be_moved(consort, plan, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan.write_text("knn: {models: ['table:t.jsonl#m0', 'table:t.jsonl#m1'], k: 3}")
    assert consort("fit", "plan.yml", "out", "--table", "t.jsonl").code == 0
    (tmp_path / "else").mkdir()
    (tmp_path / "out").rename(tmp_path / "else" / "moved")
    monkeypatch.chdir(tmp_path / "else")
    shown = consort("eval", "moved/plan.yml", "--task", f"table:{table}", "--json")
    assert shown.code == 0 and json.loads(shown.out)["systems"][0]["score"] > 0.9


def test_a_strategy_that_is_not_better_gives_way(consort, tmp_path, table):
    plan = tmp_path / "plan.yml"
    plan.write_text(f'length: {{strong: "table:{table}#m1", weak: "table:{table}#m0", share: 1.0}}')
    shown = consort("fit", plan, tmp_path / "out", "--table", table)
    assert shown.code == 0
    assert "the strategy is kept" in shown.err or "table:" in (tmp_path / "out" / "plan.yml").read_text()


def test_fitted_by_running_models_and_resumed(consort, tmp_path):
    plan, out = tmp_path / "plan.yml", tmp_path / "out"
    plan.write_text("best_single: {models: [lab:mirror, lab:order]}")
    task = tmp_path / "task.jsonl"
    lines = [{"prompt": f"mirror {a} b c =", "target": f"c b {a}", "split": "dev"} for a in "adefgh"]
    task.write_text("\n".join(map(json.dumps, lines)))
    first = consort("fit", plan, out, "--task", task, "--json")
    report = json.loads(first.out)
    assert report["details"]["fit"]["kept"] and report["decision"]["difference"]["value"] == 0
    lines = (out / "journal.jsonl").read_text()
    assert lines.count('"model": ') >= 2
    assert json.loads(consort("fit", plan, out, "--task", task, "--json").out) == report
    assert (out / "journal.jsonl").read_text() == lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["PLAN", "OUT"], "neither a task nor a table"),
        (["PLAN", "OUT", "--table", "T", "--task", "T"], "both a task and a table"),
        (["PLAN", "OUT", "--table", "missing.jsonl"], "no such file"),
        (["PLAN", "OUT", "--table", "T", "--gate", "sometimes"], "no rule"),
        (["lab:mirror", "OUT", "--table", "T"], "nothing to fit"),
        (["{}", "OUT", "--table", "T"], ""),
        (["PLAN", "", "--table", "T"], "empty"),
        (["PLAN", "T", "--table", "T"], ""),
    ],
)
def test_wrong_inputs(refused, plan, table, tmp_path, arguments, said):
    places = {"PLAN": plan, "OUT": tmp_path / "out", "T": table}
    assert said in refused("fit", *(places.get(a, a) for a in arguments))
    assert not (tmp_path / "out").exists()


def test_groups_that_are_missing_leave_nothing_behind(refused, tmp_path):
    table, plan = tmp_path / "t.jsonl", tmp_path / "plan.yml"
    rows = [{"prompt": f"p{i}", "scores": {"a": i % 2, "b": 1}, "split": "dev"} for i in range(8)]
    table.write_text("\n".join(map(json.dumps, rows)))
    plan.write_text(f'category: {{models: ["table:{table}#a", "table:{table}#b"]}}')
    assert "no groups" in refused("fit", plan, tmp_path / "out", "--table", table)
    assert not (tmp_path / "out").exists()


def test_an_unfitted_router_and_a_missing_column(refused, plan, table):
    assert "not fitted" in refused("generate", plan, "hello")
    assert "no column" in refused("eval", f"table:{table}#zzz", "--task", f"table:{table}")
    assert "a whole table" in refused("eval", f"table:{table}#m0", "--task", f"table:{table}#m0")
    assert "no weights" in refused("merge", f"table:{table}#m0", "out")


@pytest.mark.parametrize(
    "expression, state",
    [
        ("gist: {model: lab:base, slots: 1, rank: 2, steps: 1}", "soft.safetensors"),
        ("auto_compressor: {model: lab:base, slots: 2, segment: 8, rank: 2, steps: 1}", "soft.safetensors"),
        ("icae: {model: lab:base, slots: 2, rank: 2, steps: 1}", "soft.safetensors"),
        (
            "compressed: {model: lab:base, compressor: {abstractive: {model: lab:base, rank: 2, steps: 1}}}",
            "compressor.safetensors",
        ),
    ],
)
def test_compressors_that_learn(consort, tmp_path, expression, state):
    """A context is learned for its reader; the plan that comes out answers, and another call changes no byte."""
    lines = [{"prompt": f"mirror {w} =", "context": f"{w} {w} .", "target": w, "split": "dev"} for w in "abcdefgh"]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "plan.yml").write_text(f"{expression}\n")
    out = tmp_path / "out"
    report = json.loads(consort("fit", tmp_path / "plan.yml", out, "--task", tmp_path / "task.jsonl", "--json").out)
    learned = (out / state).read_bytes()
    assert report["details"]["fit"]["loss"] > 0
    assert consort("fit", tmp_path / "plan.yml", out, "--task", tmp_path / "task.jsonl").code == 0
    assert (out / state).read_bytes() == learned
    assert consort("generate", out / "plan.yml", "a a .\n\nmirror a =", "--max-tokens", "3").code == 0
