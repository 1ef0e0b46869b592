"""The whole recipe on small zoos: never worse, harmful left out, nothing evaluated twice; the lab's figures (slow)."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

import consort as c
from consort import lab
from consort.core.errors import BadParameter, Unsupported
from consort.core.journal import key_of
from consort.core.types import Sampling
from consort.data import Task
from consort.plan.build import Builder
from consort.recipes.model_glue.clusters import merged_groups
from consort.recipes.model_glue.run import model_glue
from consort.report import read_run
from consort.runs import trials as trials_module
from consort.runs.pool import open_members
from consort.zoo import Similarities

A = ["lab:base", "lab:mirror", "lab:order"]
B = ["lab:b-base", "lab:b-peel"]


@pytest.fixture(scope="module")
def small():
    """Some examples of three skills of two families."""
    both = c.load_task(lab.path("tasks/both"))
    words = ("mirror", "order", "peel")
    dev = tuple(e for word in words for e in [e for e in both.dev if e.group == word][:20])
    test = tuple(e for word in words for e in [e for e in both.test if e.group == word][:8])
    return Task("small", both.metric, dev, test, both.options)


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("glue") / "run"
    return out, model_glue([*A, *B], task=small, out=out, budget=10)


def test_clusters_are_the_families_and_the_result_is_not_worse(run):
    out, found = run
    results = json.loads((out / "results.json").read_text())
    assert sorted(sorted(one["models"]) for one in results["details"]["zoo"]["clusters"]) == [
        ["b-base", "b-peel"],
        ["base", "mirror", "order"],
    ]
    assert found.decision.kept and found.decision.candidate_score >= found.decision.fallback_score
    assert {r["model"] for r in results["test"]} >= {"base", "mirror", "order", "b-base", "b-peel", "winner"}
    assert (out / "report.html").read_text("utf-8").count(">How alike the models are</h2>") == 1
    assert any(note.startswith("made by model_glue: 5 models") for note in found.notes)
    zoo = read_run(out)[0].details["zoo"]
    assert zoo["models"] == ["base", "mirror", "order", "b-base", "b-peel"]
    assert [pair["models"] for pair in zoo["signals"]] == [["mirror", "order"]]
    assert "How well pairs may merge" in (out / "report.html").read_text("utf-8")


def test_a_rerun_evaluates_nothing(run, small, monkeypatch):
    out, found = run
    monkeypatch.setattr(trials_module, "evaluate", lambda *given, **more: pytest.fail("evaluated again"))
    monkeypatch.setattr("consort.zoo.similarity._slabs", lambda *given: pytest.fail("compared again"))
    again = model_glue([*A, *B], task=small, out=out, budget=10)
    assert (again.plan, again.notes) == (found.plan, found.notes)


def test_the_plan_of_a_router_answers_from_any_folder(run, small, tmp_path, monkeypatch):
    out, found = run
    assert read_run(out)[0].winner.kind == "team" and found.place == out / "plan.yml"
    assert not (out / "model").exists()
    prompts = [example.prompt for example in small.test]
    first = c.model(out / "plan.yml").generate(prompts, Sampling(max_tokens=6))
    moved = shutil.copytree(out, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    again = c.model("moved/plan.yml").generate(prompts, Sampling(max_tokens=6))
    assert [a.text for a in again] == [a.text for a in first]
    assert len({a.details["chosen"] for a in again}) == 2
    assert c.model(moved / "plan.yml").state.startswith(str(moved))


def test_wrong_inputs_are_refused_before_any_work(small, tmp_path):
    for wrong in ({"models": []}, {"models": A, "threshold": 2.0}, {"models": A, "base": "lab:nope"}):
        with pytest.raises(BadParameter):
            model_glue(**wrong, task=small, out=tmp_path / "run")
    with pytest.raises(Unsupported, match="no weights"):
        model_glue([*A, "openai:m@http://localhost:1"], task=small, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_cluster_of_harmful_models_alone_is_none():
    members = open_members(A, Builder(0))
    table = ((1.0, 0.99, 0.5), (0.99, 1.0, 0.5), (0.5, 0.5, 1.0))
    zoo = Similarities(("base", "mirror", "order"), ((0, 1, 2),), table, table, (0.0, 1.0, 9.0))
    worth = dict(zip(A, (0.2, 0.3, 0.0), strict=True))
    scores = {"uniform soup": 0.25}
    trials = SimpleNamespace(
        limit=4, candidates={}, trial=lambda name, expression: scores.get(name.partition(": ")[2], 0.1)
    )
    groups, _ = merged_groups(trials, members, zoo, worth, base=None, threshold=0.95, without=["order"])
    assert [([m.label for m in g.members], g.plan, g.fit) for g in groups] == [(["base", "mirror"], "lab:mirror", 0.3)]


def test_G7_the_most_central_model_stands_in_for_a_base_that_nobody_names(monkeypatch):
    """Averages stay between the models; differences from the middle one leave it, and the notes say so."""
    names = ("mirror", "order", "base", "shout")
    monkeypatch.setattr("consort.recipes.model_glue.clusters.base_among", lambda members, base: None)
    members = open_members([f"lab:{name}" for name in names], Builder(0))
    rows = tuple(tuple(1.0 if i == j else 0.99 if 2 in (i, j) else 0.98 for j in range(4)) for i in range(4))
    zoo, tried = Similarities(names, ((0, 1, 2, 3),), rows, rows, (1.0,) * 4), {}

    def trial(name, expression):
        trials.candidates[key_of(expression)] = name
        [(method, arguments)] = expression.items()
        tried.setdefault(method, set()).add(arguments.get("base"))
        return 0.9 if method == "task_arithmetic" else 0.4

    trials = SimpleNamespace(limit=60, candidates={}, trial=trial)
    worth = dict.fromkeys([m.reference for m in members], 0.3)
    [group], notes = merged_groups(trials, members, zoo, worth, base=None, threshold=0.95, without=[])
    assert tried["task_arithmetic"] == {"lab:base"} == tried["ties"]
    assert group.fit == 0.9 and group.plan["task_arithmetic"]["base"] == "lab:base"
    assert any("base, the most like all others, stands in for it" in note and "averages" in note for note in notes)


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
