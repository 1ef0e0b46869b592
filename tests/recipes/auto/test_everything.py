"""`auto` over everything: three families, an index of what no model knows, rows to train on, and two endpoints."""

from __future__ import annotations

import json

import pytest

import consort as c
from consort.recipes.auto.inputs import STAGES
from consort.recipes.auto.run import auto
from consort.runs import trials

FAMILIES = ["lab:base", "lab:mirror", "lab:order", "lab:shout", "lab:b-base", "lab:b-echo", "lab:draft"]
PRICES = {"clerk": 4e6, "sorter": 1e7}
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
    assert any("adamerging" in name for name in names) and any(" taught by b-echo" in name for name in names)
    untried = {note.split(": ")[1] for note in outcome.notes if note.startswith("not tried: ")}
    assert untried >= {"shorter prompts", "swarm", "speculation", "budget"} and "hours" not in untried
    assert untried <= {stage.name for stage in STAGES} | {"budget", "spectral merges of b-base's family"}


def test_the_front_has_every_kind_of_system_or_a_sentence_why_not(whole):
    outcome, out, _ = whole
    points = {one["name"]: one for one in told(out)["front"]}
    front = [one for one in points.values() if one["on_front"]]
    [merge] = [one for one in points.values() if one["kind"] == "merge"]
    routers = [one for one in front if one["kind"] == "team" and one["cost"] < merge["cost"]]
    assert routers and all(one["fit"] >= merge["fit"] for one in routers)
    assert "augmented:" in (out / front[-1]["plan"]).read_text()
    why = [note.split(", ")[0] for note in outcome.notes if " is on the front: " in note]
    assert [one.split(" is on")[0] for one in why] == ["no merge", "no token or byte ensemble"]
    assert why[0].endswith("the best") and merge["name"] in next(n for n in outcome.notes if n.startswith(why[0]))


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


def test_a_run_that_was_cut_goes_on_and_ends_the_same(whole):
    outcome, out, (models, given) = whole
    plans = {file.name: file.read_bytes() for file in (out / "plans").iterdir()}
    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    half = len(lines) // 2
    (out / "journal.jsonl").write_bytes(b"".join(lines[:half]) + lines[half][:20])
    (out / "results.json").unlink()
    again = auto(models, out=out, **given)
    assert (again.plan, again.notes) == (outcome.plan, outcome.notes)
    assert {file.name: file.read_bytes() for file in (out / "plans").iterdir()} == plans
