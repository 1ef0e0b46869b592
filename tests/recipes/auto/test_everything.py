"""`auto` over everything: three families, an index of what no model knows, rows to train on, and two endpoints."""

from __future__ import annotations

import json

import pytest

import consort as c
from consort.recipes.auto.inputs import STAGES
from consort.recipes.auto.run import auto
from consort.runs import trials

FAMILIES = ["lab:base", "lab:mirror", "lab:order", "lab:shout", "lab:b-base", "lab:b-peel", "lab:draft"]
PRICES = {"clerk": 4e5, "sorter": 4e5}
HOURS = 0.5


@pytest.fixture(scope="module")
def whole(everything, tmp_path_factory):
    """The run, its folder, and what made it."""
    given = {"task": everything.task, "docs": everything.index, "train": everything.train, "price": PRICES}
    given |= {"budget": 50, "hours": HOURS}
    models = [*FAMILIES, *everything.endpoints]
    out = tmp_path_factory.mktemp("whole") / "run"
    return auto(models, out=out, **given), out, (models, given)


def told(folder):
    return json.loads((folder / "results.json").read_text())


def test_every_stage_is_tried_or_says_why_not(whole):
    outcome, out, _ = whole
    methods = {one["method"] for one in told(out)["candidates"]}
    assert methods >= {"task_arithmetic", "ties", "linear", "average", "gac", "augmented", "guarded", "cascade"}
    assert methods >= {"knn", "ridge", "frugal_gpt", "prompt_mixture"}
    names = [one["name"] for one in told(out)["candidates"]]
    assert any("adamerging" in name for name in names) and any(" taught by b-peel" in name for name in names)
    untried = {note.split(": ")[1] for note in outcome.notes if note.startswith("not tried: ")}
    assert untried >= {"shorter prompts", "swarm", "speculation", "budget"} and "hours" not in untried
    assert untried <= {stage.name for stage in STAGES} | {"budget", "spectral merges of b-base's family"}


def test_the_front_has_every_kind_of_system_or_a_sentence_why_not(whole):
    outcome, out, _ = whole
    front = told(out)["front"]
    plans = {one["name"]: (out / one["plan"]).read_text() for one in front}
    kinds = {"merge", "router or cascade", "token or byte ensemble", "system with retrieval"}
    absent = {kind for kind in kinds if any(f"no {kind} is on the front: " in note for note in outcome.notes)}
    held = {one["kind"] for one in front}
    assert ("merge" in held) != ("merge" in absent)
    assert ("system with retrieval" in absent) != any("augmented" in plan for plan in plans.values())
    assert "token or byte ensemble" in absent and "router or cascade" not in absent
    cheapest = min(one["cost"] for one in front if one["fit"] >= 0.9)
    assert cheapest < min(one["cost"] for one in front if "average of" in one["name"]) if "average of" in held else True


def test_what_no_model_knows_is_looked_up_and_routed_to(whole):
    outcome, out, _ = whole
    facts = {one["model"]: one["groups"]["fact"] for one in told(out)["test"]}
    assert facts.pop("winner") == 1.0 and not any(facts.values())
    winner = next(s for s in outcome.comparison.systems if s.result.model == "winner")
    assert winner.difference.interval[0] > 0 and '"augmented"' in json.dumps(outcome.plan)


def test_each_plan_of_the_front_answers_the_same_from_its_file(whole, everything):
    _, out, _ = whole
    task = c.load_task(everything.task)
    for point in told(out)["front"]:
        assert c.evaluate(c.model(out / point["plan"]), task).score == point["test"]


def test_a_second_run_measures_nothing_and_ends_the_same(whole, monkeypatch):
    outcome, out, (models, given) = whole
    plan = (out / "plan.yml").read_bytes()
    monkeypatch.setattr(trials, "evaluate", lambda *given, **more: pytest.fail("evaluated"))
    again = auto(models, out=out, **given)
    assert (again.plan, again.notes) == (outcome.plan, outcome.notes)
    assert (out / "plan.yml").read_bytes() == plan
