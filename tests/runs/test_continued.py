"""A finished run goes on with more (D5), keeps what it knows (G5), and names what differs."""

from __future__ import annotations

import json

import pytest

from consort.core.errors import OutputExists
from consort.recipes.auto.run import auto
from consort.runs import fit as fitting
from consort.runs import trials
from consort.runs.fit import fit


def results(folder):
    return json.loads((folder / "results.json").read_text())


def counted(monkeypatch, where):
    plain, calls = where.evaluate, []
    monkeypatch.setattr(where, "evaluate", lambda *a, **k: calls.append(k["split"]) or plain(*a, **k))
    return calls


def three(write_table, path):
    """Two specialists and one that knows half of both."""

    def right(i, name):
        own = {"a": i % 2 == 0, "b": i % 2 == 1, "c": i % 3 == 0}
        return float(own[name])

    return write_table(path, ("a", "b", "c"), 120, right)


def test_D5_one_model_more_goes_on_with_what_is_known(write_table, tmp_path, monkeypatch, caplog):
    table = three(write_table, tmp_path / "t.jsonl")
    names = [f"table:{table}#{name}" for name in "abc"]
    auto(names[:2], task=f"table:{table}", out=tmp_path / "run")
    calls = counted(monkeypatch, trials)
    more = auto(names, task=f"table:{table}", out=tmp_path / "run", budget=120)
    [note] = [n for n in more.notes if n.startswith("goes on with")]
    assert "budget: 100 -> 120" in note and "models: a, b -> a, b, c" in note and note in caplog.text
    assert {r["model"] for r in results(tmp_path / "run")["test"]} >= {"a", "b", "c", "winner"}
    assert calls.count("fit") == 1 and calls.count("held_out") <= 2  # of the new one, and of what is now the best
    whole = auto(names, task=f"table:{table}", out=tmp_path / "whole", budget=120)
    assert whole.plan == more.plan and [c["fit"] for c in results(tmp_path / "run")["candidates"]] == [
        c["fit"] for c in results(tmp_path / "whole")["candidates"]
    ]
    calls.clear()
    again = auto(names, task=f"table:{table}", out=tmp_path / "run", budget=120)
    assert not calls and again.notes == more.notes


def test_G5_a_smaller_budget_keeps_what_is_known(table, tmp_path, monkeypatch, caplog):
    names = [f"table:{table}#{name}" for name in "ab"]
    first = auto(names, task=f"table:{table}", out=tmp_path / "run", budget=40)
    calls = counted(monkeypatch, trials)
    again = auto(names, task=f"table:{table}", out=tmp_path / "run", budget=4)
    assert again.plan == first.plan and not calls and "with a budget of 40 already, which is kept" in caplog.text


def test_other_examples_or_other_models_are_another_run(write_table, table, tmp_path):
    names = [f"table:{table}#{name}" for name in "ab"]
    auto(names, task=f"table:{table}", out=tmp_path / "run")
    before = (tmp_path / "run" / "results.json").read_bytes()
    other = write_table(tmp_path / "other.jsonl", rows=90)
    with pytest.raises(OutputExists, match=r"differs in task\.name: t\.jsonl -> other"):
        auto(names, task=f"table:{other}", out=tmp_path / "run")
    with pytest.raises(OutputExists, match="of other models: models: a, b -> x, y"):
        xy = write_table(tmp_path / "xy.jsonl", ("x", "y"), right=lambda i, name: 1.0)
        auto([f"table:{xy}#x", f"table:{xy}#y"], task=f"table:{table}", out=tmp_path / "run")
    assert (tmp_path / "run" / "results.json").read_bytes() == before


def test_a_model_whose_content_changed_is_measured_again(write_table, table, tmp_path, monkeypatch):
    names = [f"table:{table}#{name}" for name in "ab"]
    third = write_table(tmp_path / "third.jsonl", ("c",), right=lambda i, name: float(i % 3 == 0))
    auto([*names, f"table:{third}#c"], task=f"table:{table}", out=tmp_path / "run")
    write_table(third, ("c",), right=lambda i, name: 1.0)
    calls = counted(monkeypatch, trials)
    outcome = auto([*names, f"table:{third}#c"], task=f"table:{table}", out=tmp_path / "run")
    assert outcome.plan == f"table:{third}#c" and calls.count("fit") == 1
    assert any("content of c" in note for note in outcome.notes)


def test_a_fit_of_another_strategy_asks_the_members_no_more(tmp_path, monkeypatch):
    task, plan = tmp_path / "task.jsonl", tmp_path / "plan.yml"
    lines = [{"prompt": f"mirror {a} b c =", "target": f"c b {a}", "split": "dev"} for a in "adefgh"]
    task.write_text("\n".join(map(json.dumps, lines)))
    plan.write_text("best_single: {models: [lab:mirror, lab:order]}")
    fit(plan, tmp_path / "out", task=task)
    calls = counted(monkeypatch, fitting)
    plan.write_text("best_single: {models: [lab:order, lab:mirror]}")
    fit(plan, tmp_path / "out", task=task)
    assert not calls
    made = results(tmp_path / "out")
    assert any("differs in" in note for note in made["notes"]) and made["verb"] == "fit"
    plan.write_text("best_single: {models: [lab:twice, lab:spin]}")
    with pytest.raises(OutputExists, match="of other models"):
        fit(plan, tmp_path / "out", task=task)
