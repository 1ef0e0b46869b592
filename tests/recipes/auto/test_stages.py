"""The stages of `auto` that need more than one family: what they propose where they fit, and say where they do not."""

from __future__ import annotations

import json

import pytest

import consort as c
from consort import lab
from consort.core.types import Sampling
from consort.recipes.auto.run import auto
from consort.recipes.auto.stages import swarm


def candidates_of(folder):
    return {one["name"]: one for one in json.loads((folder / "results.json").read_text())["candidates"]}


def task_of(rows, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for part, start in (("dev", 0), ("test", 1)):
        lines = (json.dumps(row) + "\n" for row in rows[start::2])
        (folder / f"{part}.jsonl").write_text("".join(lines))
    (folder / "task.yml").write_text("{dev: dev.jsonl, test: test.jsonl, metric: exact_match, max_tokens: 12}")
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What `lab:target` says: it is right on every prompt, and its small draft on few."""
    lines = (lab.path("tasks/text") / "dev.jsonl").read_text().splitlines()
    prompts = [" ".join(json.loads(line)["text"].split()[:6]) for line in lines]
    prompts = list(dict.fromkeys(prompts))[:24]
    answers = c.model("lab:target").generate(prompts, Sampling(max_tokens=12))
    rows = [{"prompt": p, "target": a.text.strip()} for p, a in zip(prompts, answers, strict=True)]
    return task_of(rows, tmp_path_factory.mktemp("told") / "task")


def test_a_small_model_guesses_ahead_of_the_best_and_changes_no_answer(told, tmp_path):
    outcome = auto(["lab:target", "lab:draft"], task=told, out=tmp_path / "run", budget=8)
    tried = candidates_of(tmp_path / "run")["target, draft guessing"]
    assert tried["plan"] == {"speculate": {"target": "lab:target", "draft": "lab:draft"}} and tried["fit"] == 1.0
    [note] = [note for note in outcome.notes if note.startswith("target, draft guessing: the same answers, ")]
    passes, tokens = int(note.split()[6]), int(note.split()[-2])
    assert 0 < passes < tokens == 12 * 6


def test_models_of_two_vocabularies_are_averaged_byte_by_byte(told, tmp_path):
    auto(["lab:target", "lab:b-prior"], task=told, out=tmp_path / "run", budget=10)
    tried = candidates_of(tmp_path / "run")["byte average of target + b-prior"]
    assert tried["method"] == "average" and tried["fit"] is not None


@pytest.fixture
def skills(tmp_path):
    lines = (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["group"] in ("mirror", "order", "shout")]
    return task_of(rows[:48], tmp_path / "task")


def test_a_swarm_moves_with_what_is_left(skills, tmp_path, monkeypatch):
    from consort.recipes.auto import coefficients

    monkeypatch.setattr(coefficients, "LAMBDAS", (0.2,))
    monkeypatch.setattr(coefficients, "refine", lambda *given: None)
    models = ["lab:base", "lab:mirror", "lab:order", "lab:shout"]
    outcome = auto(models, task=skills, out=tmp_path / "run", budget=60)
    places = [one for name, one in candidates_of(tmp_path / "run").items() if name.startswith("swarm of 3, place ")]
    assert len(places) >= swarm.LEAST
    assert all(one["plan"]["linear"]["normalize"] is False for one in places)
    assert max(one["fit"] for one in places) > max(outcome.decision.fallback_score, 0.4)


def test_coefficients_are_trained_on_rows_without_their_targets(skills, everything, tmp_path):
    models = ["lab:base", "lab:mirror", "lab:order"]
    auto(models, task=skills, out=tmp_path / "run", budget=6, train=everything.train)
    trained = candidates_of(tmp_path / "run")["adamerging of 2"]
    assert all(0.4 < weight <= 1 for weight in trained["plan"]["task_arithmetic"]["weight"])
    assert trained["fit"] >= 0.5


def test_a_run_of_one_family_says_what_was_not_tried_and_why(skills, tmp_path):
    outcome = auto(["lab:mirror", "lab:order"], task=skills, out=tmp_path / "run", budget=30)
    untried = {note.split(": ")[1] for note in outcome.notes if note.startswith("not tried: ")}
    assert untried >= {
        "trained merges",
        "knowledge fusion",
        "model_glue",
        "byte ensemble",
        "shorter prompts",
        "retrieval",
        "guards",
        "cascades",
        "swarm",
        "speculation",
    }
