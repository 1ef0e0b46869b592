"""The main job on a few bundled models: better than the best single, never worse, resumable, honest."""

from __future__ import annotations

import json
import shutil

import pytest

import consort as c
from consort import lab
from consort.core.errors import BadCheckpoint, BadData, BadParameter, ConsortError, OutputExists, Unsupported
from consort.recipes import team, trials
from consort.recipes.auto import auto
from consort.report.schema import read_run

SKILLS = ("mirror", "order")


def lines_of(part, groups, most):
    file = lab.path("tasks/skills") / f"{part}.jsonl"
    rows = [line for line in file.read_text().splitlines() if json.loads(line)["group"] in groups]
    return "\n".join(rows[:most]) + "\n"


@pytest.fixture
def task(tmp_path):
    """Two skills, 40 dev and 60 test examples."""
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "dev.jsonl").write_text(lines_of("dev", SKILLS, 40))
    (folder / "test.jsonl").write_text(lines_of("test", SKILLS, 60))
    (folder / "task.yml").write_text("{dev: dev.jsonl, test: test.jsonl, metric: exact_match, max_tokens: 8}")
    return folder


MODELS = ["lab:base", "lab:mirror", "lab:order", "lab:harmful"]


def test_two_skills_become_one_model_without_the_harmful_one(task, tmp_path):
    outcome = auto(MODELS, task=task, out=tmp_path / "run", budget=40)
    winner = next(s for s in outcome.comparison.systems if s.result.model == "winner")
    assert winner.difference.value >= 0.25
    results, _ = read_run(tmp_path / "run")
    assert results.base == "base" and results.winner.kind == "merge"
    assert results.winner.coefficients["weight"]["harmful"] == 0
    assert {"model", "plan.yml", "report.html", "results.json"} <= {p.name for p in (tmp_path / "run").iterdir()}


def test_the_plan_makes_the_saved_model_again(task, tmp_path):
    auto(MODELS[:3], task=task, out=tmp_path / "run", budget=8)
    saved, again = c.load(tmp_path / "run" / "model"), c.load(tmp_path / "run" / "plan.yml")
    assert all((saved[name] == again[name]).all() for name in saved.keys())


def test_a_finished_run_is_read_back_and_a_cut_one_continues(task, tmp_path, monkeypatch):
    run = tmp_path / "run"
    first = auto(MODELS[:3], task=task, out=run, budget=8)
    journal = (run / "journal.jsonl").read_text().splitlines(keepends=True)
    calls = []
    plain = trials.evaluate
    monkeypatch.setattr(trials, "evaluate", lambda *a, **k: calls.append(1) or plain(*a, **k))
    auto(MODELS[:3], task=task, out=run, budget=8)
    assert not calls
    (run / "journal.jsonl").write_text("".join(journal[:9]) + journal[9][:20])
    (run / "results.json").unlink()
    again = auto(MODELS[:3], task=task, out=run, budget=8)
    assert len(calls) == len(journal) - 9
    assert again.plan == first.plan


def test_nothing_better_gives_the_best_single(tmp_path):
    (tmp_path / "task.jsonl").write_text(lines_of("dev", ("mirror",), 40))
    outcome = auto(["lab:mirror", "lab:harmful"], task=tmp_path / "task.jsonl", out=tmp_path / "run", budget=20)
    assert outcome.plan == "lab:mirror"
    assert "single model" in outcome.headline
    assert any("no base is known" in note for note in outcome.notes)
    assert c.load(tmp_path / "run" / "model").keys()


def test_adapters_are_inputs_like_any_other(task, tmp_path):
    outcome = auto(["lab:base", "lab:lora-mirror", "lab:lora-order"], task=task, out=tmp_path / "run", budget=8)
    assert outcome.comparison.reference in ("lora-mirror", "lora-order")


def test_the_budget_bounds_the_candidates(task, tmp_path):
    outcome = auto(MODELS, task=task, out=tmp_path / "run", budget=3)
    results, _ = read_run(tmp_path / "run")
    assert sum("state:" not in c.plan for c in results.candidates) == 3  # what learns from known answers costs nothing
    assert any("budget" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("models", "options", "error", "says"),
    [
        ([], {}, BadParameter, "no models"),
        (["lab:mirror", "lab:order"], {"base": "lab:base"}, BadParameter, "not among the inputs"),
        (["lab:mirror", "lab:nonesuch", "no/folder"], {}, ConsortError, "no/folder"),
    ],
)
def test_wrong_inputs_are_refused_before_any_work(models, options, error, says, task, tmp_path):
    with pytest.raises(error, match=says):
        auto(models, task=task, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_not_touched(task, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists):
        auto(MODELS, task=task, out=tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_model_of_nan_is_left_out_with_a_note(task, tmp_path):
    from safetensors.torch import load_file, save_file

    bad = shutil.copytree(lab.path("order"), tmp_path / "bad")
    tensors = load_file(bad / "model.safetensors")
    tensors["model.norm.weight"][:] = float("nan")
    save_file(tensors, bad / "model.safetensors", metadata={"format": "pt"})
    outcome = auto(["lab:mirror", str(bad), "lab:mirror"], task=task, out=tmp_path / "run", budget=4)
    assert outcome.plan == "lab:mirror"
    assert any("bad was left out" in note for note in outcome.notes)
    assert any("given 2 times" in note for note in outcome.notes)
    with pytest.raises(BadCheckpoint):
        auto([str(bad)], task=task, out=tmp_path / "none", budget=4)
    assert not (tmp_path / "none").exists()


def test_force_replaces_the_model_of_another_run(task, tmp_path):
    first = auto(["lab:mirror"], task=task, out=tmp_path / "run", budget=1)
    assert any("one model" in note for note in first.notes)
    auto(["lab:order"], task=task, out=tmp_path / "run", budget=1, force=True)
    saved, wanted = c.load(tmp_path / "run" / "model"), c.load("lab:order")
    assert all((saved[name] == wanted[name]).all() for name in saved.keys())


def test_records_that_the_search_did_not_write_are_damage(task, tmp_path):
    auto(["lab:mirror"], task=task, out=tmp_path / "run", budget=1)
    journal = tmp_path / "run" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    for wrong in ("{}", '{"key": "a"}', '{"key": "a", "result": {"score": 1}}', '{"key": 1, "fault": "x"}'):
        journal.write_text("\n".join([*lines, wrong]) + "\n")
        with pytest.raises(BadData, match=f"jsonl:{len(lines) + 1}"):
            auto(["lab:mirror"], task=task, out=tmp_path / "run", budget=1)


def test_an_input_in_the_run_folder_is_not_removed(task, tmp_path):
    model = shutil.copytree(lab.path("mirror"), tmp_path / "run" / "model")
    with pytest.raises(OutputExists, match="overlaps"):
        auto([str(model)], task=task, out=tmp_path / "run", force=True)
    assert (model / "config.json").exists()


def test_models_of_one_name_are_told_apart(task, tmp_path):
    import shutil

    places = [tmp_path / "a" / "model", tmp_path / "b" / "model"]
    for name, place in zip(SKILLS, places, strict=True):
        shutil.copytree(lab.path(name), place)
    outcome = auto([str(p) for p in places], task=task, out=tmp_path / "run", budget=2)
    assert {str(p) for p in places} <= {s.result.model for s in outcome.comparison.systems}


@pytest.fixture
def across(tmp_path):
    """One skill of each of two families, 80 dev and 60 test examples."""
    task = tmp_path / "task"
    task.mkdir()
    for part, most in (("dev", 40), ("test", 30)):
        mirror = lines_of(part, ("mirror",), most)
        rows = (lab.path("tasks/b-skills") / f"{part}.jsonl").read_text().splitlines()
        peel = [row for row in rows if json.loads(row)["group"] == "peel"][:most]
        (task / f"{part}.jsonl").write_text(mirror + "\n".join(peel) + "\n")
    (task / "task.yml").write_text("{dev: dev.jsonl, test: test.jsonl, metric: exact_match, max_tokens: 8}")
    return task


def test_families_that_cannot_be_merged_become_a_team(across, tmp_path):
    task = across
    outcome = auto(["lab:mirror", "lab:b-peel"], task=task, out=tmp_path / "run", budget=4)
    results, _ = read_run(tmp_path / "run")
    winner = next(s for s in outcome.comparison.systems if s.result.model == "winner")
    assert results.winner.kind == "team" and winner.difference.value >= 0.3
    assert not (tmp_path / "run" / "model").exists()
    assert all(results.prices[name] > 0 for name in ("mirror", "b-peel"))
    again = c.evaluate(c.model(tmp_path / "run" / "plan.yml"), c.load_task(task))
    assert again.score == winner.score


def test_a_team_that_cannot_be_run_has_failed_and_gives_way(across, tmp_path, monkeypatch):
    def broken(joint, folder):
        raise Unsupported("no room for what it learned", field=joint.name)

    monkeypatch.setattr(team, "keep", broken)
    outcome = auto(["lab:mirror", "lab:b-peel"], task=across, out=tmp_path / "run", budget=4)
    results, _ = read_run(tmp_path / "run")
    assert results.winner.kind == "single"
    failed = [c for c in results.candidates if c.status == "failed"]
    assert failed and all("no room" in c.note for c in failed)
    assert sum("was left out" in note for note in outcome.notes) == len(failed)
