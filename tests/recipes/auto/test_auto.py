"""The main job on a few bundled models: better than the best single, never worse, resumable, honest."""

from __future__ import annotations

import json
import shutil

import pytest

import consort as c
from consort import lab
from consort.core.errors import BadCheckpoint, BadData, BadParameter, ConsortError, OutputExists, Unsupported
from consort.core.journal import written
from consort.data import Task
from consort.recipes.auto import decision
from consort.recipes.auto.run import auto
from consort.report.schema import read_run
from consort.runs import trials

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


def test_records_that_the_search_did_not_write_are_left_out_and_told(task, tmp_path, caplog):
    auto(["lab:mirror"], task=task, out=tmp_path / "run", budget=1)
    journal = tmp_path / "run" / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    for wrong in ({}, {"key": "a"}, {"key": "a", "result": {"score": 1}}, {"key": 1, "fault": "x"}):
        journal.write_bytes(b"\n".join([*lines, written(wrong)]))
        auto(["lab:mirror"], task=task, out=tmp_path / "run", budget=1)
        assert f"jsonl:{len(lines) + 1}" in caplog.text
        caplog.clear()


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


ZOO = ["lab:base", "lab:mirror", "lab:order", "lab:harmful", "lab:b-base", "lab:b-peel"]


@pytest.fixture(scope="module")
def zoo_run(tmp_path_factory):
    """A zoo of two families on three of their skills, and the options that made it."""
    both = c.load_task(lab.path("tasks/both"))
    dev, test = (
        tuple(e for word in ("mirror", "order", "peel") for e in [e for e in part if e.group == word][:most])
        for part, most in ((both.dev, 24), (both.test, 10))
    )
    options = {"task": Task("zoo", both.metric, dev, test, both.options), "budget": 20}
    out = tmp_path_factory.mktemp("zoo") / "run"
    return out, auto(ZOO, out=out, **options), options


def test_model_glue_is_a_candidate_among_others(zoo_run):
    out, outcome, _ = zoo_run
    results, _ = read_run(out)
    tried = {c.name: c for c in results.candidates}
    assert {"knn of 2 clusters", "prompt mixture of 2 models"} <= set(tried)
    assert any(name.startswith("cluster 1: ") and c.note == "model_glue" for name, c in tried.items())
    assert all(results.prices[name] > 0 for name, c in tried.items() if c.status != "failed")
    assert sum("state:" not in c.plan for c in results.candidates) <= 20
    assert results.winner.kind == "team" and outcome.decision.candidate_score >= outcome.decision.fallback_score
    assert "How alike the models are" in (out / "report.html").read_text("utf-8")


def test_what_the_budget_left_is_told(zoo_run):
    _, outcome, _ = zoo_run
    told = [note for note in outcome.notes if "not tried: budget: " in note]
    assert any("family, whose share is" in note for note in told)


def test_a_zoo_cut_anywhere_ends_with_the_same_bytes(zoo_run, tmp_path):
    out, outcome, options = zoo_run
    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for kept in (len(lines) // 2, len(lines) - 8):
        cut = shutil.copytree(out, tmp_path / str(kept))
        (cut / "journal.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:30])
        for made in ("plan.yml", "results.json", "report.html"):
            (cut / made).unlink()
        shutil.rmtree(cut / "states")
        again = auto(ZOO, out=cut, **options)
        assert (again.plan, again.notes) == (outcome.plan, outcome.notes)
        assert (cut / "plan.yml").read_bytes() == (out / "plan.yml").read_bytes()
        assert [p.read_bytes() for p in sorted((cut / "states").iterdir())] == [
            p.read_bytes() for p in sorted((out / "states").iterdir())
        ]


def test_a_moved_run_answers_from_another_folder(zoo_run, tmp_path, monkeypatch):
    out, _, options = zoo_run
    moved = shutil.copytree(out, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    found = c.evaluate(c.model("moved/plan.yml"), options["task"])
    results, _ = read_run(moved)
    assert found.score == next(r.score for r in results.test if r.model == "winner")


def test_models_named_by_relative_folders_are_found_from_anywhere(task, tmp_path, monkeypatch):
    for name in SKILLS:
        shutil.copytree(lab.path(name), tmp_path / "models" / name)
    monkeypatch.chdir(tmp_path)
    auto(["models/mirror", "models/order"], task=task, out="run", budget=3)
    monkeypatch.chdir(tmp_path / "models")
    assert c.load("../run/plan.yml").keys()


def test_models_that_are_read_for_choices_get_routers(tmp_path):
    rows = []
    for skill, task in (("mirror", "skills"), ("peel", "b-skills")):
        lines = [json.loads(line) for line in (lab.path(f"tasks/{task}") / "dev.jsonl").read_text().splitlines()]
        own = [line for line in lines if line["group"] == skill][:40]
        for number, line in enumerate(own):
            target, other = line["target"], own[(number + 1) % len(own)]["target"]
            choices = [target, other if other != target else target[::-1] + " x"]
            rows.append({"prompt": line["prompt"], "choices": choices, "answer": 0, "group": skill})
    for part, taken in (("dev", rows[::2] + rows[1::4]), ("test", rows[3::4])):
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in taken))
    (tmp_path / "task.yml").write_text("{dev: dev.jsonl, test: test.jsonl, metric: choice}")
    auto(["lab:mirror", "lab:b-peel"], task=tmp_path, out=tmp_path / "run", budget=4)
    results, _ = read_run(tmp_path / "run")
    assert any(c.method in ("knn", "ridge") and c.fit is not None for c in results.candidates)
    assert not any(c.method in ("vote", "frugal_gpt", "prompt_mixture") for c in results.candidates)


def test_a_team_that_cannot_be_run_has_failed_and_gives_way(across, tmp_path, monkeypatch):
    def broken(joint, folder):
        raise Unsupported("no room for what it learned", field=joint.name)

    monkeypatch.setattr(decision, "keep", broken)
    outcome = auto(["lab:mirror", "lab:b-peel"], task=across, out=tmp_path / "run", budget=4)
    results, _ = read_run(tmp_path / "run")
    assert results.winner.kind == "single"
    failed = [c for c in results.candidates if c.status == "failed"]
    assert failed and all("no room" in c.note for c in failed)
    assert sum("was left out" in note for note in outcome.notes) == len(failed)


def test_an_example_too_long_for_a_model_is_found_before_the_search(tmp_path, monkeypatch):
    rows = [json.loads(row) for row in lines_of("dev", ("mirror",), 12).splitlines()]
    lines = [{**row, "split": "test" if n > 8 else "dev"} for n, row in enumerate(rows)]
    lines[-1]["prompt"] = "a " * 300 + lines[-1]["prompt"]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(trials, "evaluate", lambda *given, **more: pytest.fail("evaluated"))
    with pytest.raises(BadData, match="line 12: .* context window of mirror"):
        auto(["lab:mirror", "lab:order"], task=tmp_path / "t.jsonl", out=tmp_path / "run", budget=2)
    assert not (tmp_path / "run").exists()
