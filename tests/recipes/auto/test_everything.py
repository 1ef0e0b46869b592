"""`auto` over everything: three families, an index of what no model knows, rows to train on, and two endpoints."""

from __future__ import annotations

import json

import pytest

import consort as c
from consort.recipes.auto.inputs import STAGES
from consort.recipes.auto.run import auto
from consort.runs import trials

FAMILIES = ["lab:base", "lab:mirror", "lab:order", "lab:shout", "lab:b-base", "lab:b-peel", "lab:target", "lab:draft"]


@pytest.fixture(scope="module")
def whole(everything, tmp_path_factory):
    """The run, its folder, and what made it."""
    given = {"task": everything.task, "docs": everything.index, "train": everything.train, "budget": 60}
    models = [*FAMILIES, *everything.endpoints]
    out = tmp_path_factory.mktemp("whole") / "run"
    return auto(models, out=out, **given), out, (models, given)


def candidates_of(folder):
    return json.loads((folder / "results.json").read_text())["candidates"]


def test_every_stage_is_tried_or_says_why_not(whole):
    outcome, out, _ = whole
    methods = {one["method"] for one in candidates_of(out)}
    assert methods >= {"task_arithmetic", "ties", "linear", "average", "gac", "augmented", "guarded", "cascade"}
    assert methods >= {"knn", "ridge", "frugal_gpt", "prompt_mixture"}
    names = [one["name"] for one in candidates_of(out)]
    assert any("adamerging" in name for name in names) and any(" taught by b-peel" in name for name in names)
    untried = {note.split(": ")[1] for note in outcome.notes if note.startswith("not tried: ")}
    assert untried >= {"shorter prompts", "swarm", "speculation", "budget"}
    assert untried <= {stage.name for stage in STAGES} | {"budget", "spectral merges of b-base's family"}


def test_what_no_model_knows_is_looked_up_and_routed_to(whole):
    outcome, out, _ = whole
    results = json.loads((out / "results.json").read_text())
    facts = {one["model"]: one["groups"]["fact"] for one in results["test"]}
    assert facts.pop("winner") == 1.0 and not any(facts.values())
    winner = next(s for s in outcome.comparison.systems if s.result.model == "winner")
    assert winner.difference.interval[0] > 0 and '"augmented"' in json.dumps(outcome.plan)


def test_the_plan_that_was_written_answers_the_same(whole, everything):
    outcome, out, _ = whole
    winner = next(s for s in outcome.comparison.systems if s.result.model == "winner")
    assert c.evaluate(c.model(out / "plan.yml"), c.load_task(everything.task)).score == winner.score


def test_a_second_run_measures_nothing_and_ends_the_same(whole, monkeypatch):
    outcome, out, (models, given) = whole
    monkeypatch.setattr(trials, "evaluate", lambda *given, **more: pytest.fail("evaluated"))
    again = auto(models, out=out, **given)
    assert (again.plan, again.notes) == (outcome.plan, outcome.notes)
