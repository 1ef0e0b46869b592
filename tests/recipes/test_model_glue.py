"""The whole recipe on small zoos: never worse, harmful left out, nothing evaluated twice; the lab's figures (slow)."""

from __future__ import annotations

import json

import pytest

import consort as c
from consort import lab
from consort.core.errors import BadParameter
from consort.data import Task
from consort.recipes import trials as trials_module
from consort.recipes.model_glue import model_glue

A = ["lab:base", "lab:mirror", "lab:order"]
B = ["lab:b-base", "lab:b-peel"]


@pytest.fixture(scope="module")
def small():
    """Some forty examples of three skills of two families."""
    both = c.load_task(lab.path("tasks/both"))
    words = ("mirror", "order", "peel")
    dev = tuple(e for word in words for e in [e for e in both.dev if e.group == word][:14])
    test = tuple(e for word in words for e in [e for e in both.test if e.group == word][:8])
    return Task("small", both.metric, dev, test, both.options)


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("glue") / "run"
    return out, model_glue([*A, *B], task=small, out=out, budget=10)


def test_clusters_are_the_families_and_the_result_is_not_worse(run):
    out, found = run
    assert sorted(sorted(m.reference for m in g.members) for g in found.groups) == [sorted(B), sorted(A)]
    if found.decision is not None and found.decision.kept:
        assert found.decision.candidate_score >= found.decision.fallback_score
    results = json.loads((out / "results.json").read_text())
    assert {r["model"] for r in results["test"]} >= {"base", "mirror", "order", "b-base", "b-peel", "winner"}
    assert (out / "report.html").is_file()
    assert (out / "plan.yml").is_file()


def test_a_rerun_evaluates_nothing(run, small, monkeypatch):
    out, found = run
    monkeypatch.setattr(trials_module, "evaluate", lambda *given, **more: pytest.fail("evaluated again"))
    monkeypatch.setattr("consort.zoo.similarity._slabs", lambda *given: pytest.fail("compared again"))
    again = model_glue([*A, *B], task=small, out=out, budget=10)
    assert (again.plan, again.notes) == (found.plan, found.notes)


def test_wrong_inputs_are_refused_before_any_work(small, tmp_path):
    for wrong in ({"models": []}, {"models": A, "threshold": 2.0}, {"models": A, "base": "lab:nope"}):
        with pytest.raises(BadParameter):
            model_glue(**wrong, task=small, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("task", "gain"), [("skills", 0.30), ("both", 0.05)])
def test_the_labs_figures(task, gain, tmp_path):
    names = ["base", "mirror", "order", "shout", "twice", "next", "spin", "edges", "yell", "harmful"]
    names += ["b-base", "b-peel", "b-echo", "b-prior"]
    found = model_glue([f"lab:{name}" for name in names], task=f"lab:tasks/{task}", out=tmp_path / "run")
    score = {s.result.model: s.score for s in found.comparison.systems}
    rivals = [v for k, v in score.items() if k != "winner"]
    assert score["winner"] >= max(rivals) + gain
    assert any(note.startswith("harmful was left out") for note in found.notes)
    assert "lab:harmful" not in json.dumps(found.plan)
