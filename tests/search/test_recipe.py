"""The whole verb on bundled models: what it writes, resume, engines, wrong inputs; and the paper's comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from consort.cli.app import app
from consort.core.errors import BadData, BadPlan, ConsortError, Incompatible, OutputExists
from consort.data import load_task
from consort.lab import path
from consort.recipes.model_swarms.baselines import nearest_of, vote_of
from consort.recipes.model_swarms.study import analysis, model_swarms, personal_bests, run_of_winner
from consort.runs.search.objective import joined
from consort.runs.search.run import search
from consort.search.engine.run import History, Step
from consort.search.engine.scores import Outcome

LORA = {"merge_adapters": {"models": ["lab:lora-mirror", "lab:lora-order"], "weight": {"free": [-0.5, 1.5]}}}
FULL = {"linear": {"models": ["lab:mirror", "lab:order"], "weight": {"free": [-0.5, 1.5]}}}


@pytest.fixture(scope="module")
def task():
    whole = load_task(path("tasks/skills"))
    own = [tuple(e for e in part if e.group in ("mirror", "order")) for part in (whole.dev, whole.test)]
    return replace(whole, dev=own[0][:24], test=own[1][:24])


def document(space, base="lab:base", **pso):
    settings = {"particles": 5, "iterations": 2, **pso}
    body = {"optimizer": {"pso": settings}, "space": space}
    return {"search": {**body, **({"base": base} if base else {})}}


def test_a_search_of_adapters_saves_an_adapter_that_scores_what_was_reported(task, tmp_path):
    import consort as c

    found = search(document(LORA, populate={"extra": True}), task=task, out=tmp_path / "run")
    assert {"journal.jsonl", "model", "plan.yml", "report.html", "results.json"} == {
        p.name for p in found.folder.iterdir()
    }
    results = json.loads((found.folder / "results.json").read_text())
    assert results["details"]["history"]["best"]["score"] == found.best.outcome.score
    assert set(results["winner"]["coefficients"]["coefficients"]) == {"base", "lora-mirror", "lora-order"}
    system = c.model(found.folder / "plan.yml")
    assert c.evaluate(system, task, split="dev").score == pytest.approx(found.best.outcome.score, abs=1 / 24)
    again = search(document(LORA, populate={"extra": True}), task=task, out=tmp_path / "run")
    assert again.history.steps == found.history.steps
    with pytest.raises(OutputExists, match="another run"):
        search(document(LORA), task=replace(task, dev=task.dev[:3]), out=tmp_path / "run")
    with pytest.raises(OutputExists, match="of other models"):
        search(document(FULL, base=None), task=task, out=tmp_path / "run")


def test_a_search_of_full_weights_saves_the_model_that_scored(task, tmp_path):
    import consort as c

    found = search(document(FULL, base=None), task=task, out=tmp_path, racing=False)
    assert c.evaluate(c.model(tmp_path / "model"), task, split="dev").score == found.best.outcome.score
    assert found.best.outcome.score >= max(s.outcome.score for s in found.history.steps if s.generation == 0)


def test_a_token_swarm_is_saved_as_its_plan(task, tmp_path):
    space = {"token_swarm": {"models": ["lab:mirror", "lab:order"], "weight": {"free": [-1, 2]}}}
    found = search(document(space, base=None), task=task, out=tmp_path, limit=12)
    assert not (tmp_path / "model").exists()
    assert "token_swarm" in yaml.safe_load((tmp_path / "plan.yml").read_text())["plan"]
    assert found.best.outcome.is_complete


def test_other_optimizers_and_spaces(task, tmp_path):
    ties = {"ties": {"models": ["lab:mirror", "lab:order"], "base": "lab:base", "lambda": {"free": [0.5, 2]}}}
    body = {"search": {"optimizer": {"random": {"evaluations": 4, "batch": 2}}, "space": ties}}
    found = search(body, task=task, out=tmp_path, limit=12, budget=3)
    assert found.history.evaluations == 3 and "budget" in found.history.ended


def test_several_tasks_are_searched_by_their_harmonic_mean(task, tmp_path):
    parts = [replace(task, name=n, dev=tuple(e for e in task.dev if e.group == n)) for n in ("mirror", "order")]
    found = search(document(LORA), task=parts, out=tmp_path, combine="harmonic")
    assert 0 <= found.best.outcome.score <= 1
    with pytest.raises(Incompatible, match="measured"):
        joined([task, replace(task, name="other", metric="contains")])


def test_sparsified_experts_are_searched(task, tmp_path):
    found = search(document(FULL, populate="sparsified"), task=task, out=tmp_path, limit=8, conclude=False)
    assert len(found.best.point) == 5


@pytest.mark.parametrize("kind", ["full", "exact"])
def test_the_papers_comparison(task, tmp_path, kind):
    names = [f"lab:{'' if kind == 'full' else 'lora-'}{n}" for n in ("mirror", "order")]
    chosen = ("data merge", "prediction ensemble", "uniform soup", "greedy soup", "cbtm", "model stock")
    study = model_swarms(
        names, task=task, out=tmp_path, kind=kind, limit=12, particles=4, iterations=1, baselines=chosen
    )
    assert study.line("swarm").dev >= study.line("best single").dev
    assert "training data" in study.line("data merge").note and "base" in study.line("model stock").note
    assert study.line("swarm").evaluations == study.found.history.evaluations
    assert {"c_surge", "c_emerge", "initial_rank"} <= set(study.analysis)
    assert json.loads((tmp_path / "results.json").read_text())["details"]["study"]["lines"]


def test_of_several_trials_the_best_one_is_analysed():
    """Two trials of two particles and two rounds; the best point is in the second."""

    def step(generation, who, score, marks):
        return Step(generation, who, (score,), Outcome(score, score, score, marks), True)

    first = [step(0, 0, 0.9, "10"), step(0, 1, 0.1, "00"), step(1, 0, 0.2, "01"), step(1, 1, 0.3, "01")]
    second = [step(2, 0, 0.4, "10"), step(2, 1, 0.2, "00"), step(3, 0, 0.3, "01"), step(3, 1, 1.0, "11")]
    history = History(first + second)
    found = SimpleNamespace(optimizer=SimpleNamespace(began=[0, 2]), history=history, best=second[3])
    assert run_of_winner(found) == second and personal_bests(found) == [second[0], second[3]]
    told = analysis(found, ["a", "b"])
    assert (told["initial_rank"], told["particles"], told["found_in"]) == (2, 2, 1)
    assert told["c_surge"] == 1.0 and told["c_emerge"] == 1.0


def test_votes_and_nearest_experts():
    from consort.core.types import Completion

    class Says:
        def __init__(self, text):
            self.name = self.text = text

        def generate(self, prompts, sampling=None):
            return [Completion(self.text) for _ in prompts]

    team = vote_of([lambda t=t: Says(t) for t in ("A", "A", "B", "B")], [0.6, 0.2, 0.5, 0.5])
    assert team.generate(["q"])[0].text == "B"
    most = vote_of([lambda t=t: Says(t) for t in ("A", "A", "B")], [-5.0, -4.0, 9.0])
    assert most.generate(["q"])[0].text == "A"
    near = nearest_of([Says("x"), Says("y")], ["add one", "turn round"], [[1, 0], [0, 1]])
    assert [a.text for a in near.generate(["turn it", "add it"])] == ["y", "x"]


def run(*arguments):
    return CliRunner().invoke(app, ["search", *map(str, arguments)])


def test_the_verb_prints_one_document(tmp_path):
    plan = tmp_path / "plan.yml"
    plan.write_text(yaml.safe_dump(document(LORA)))
    lines = (path("tasks/skills") / "dev.jsonl").read_text().splitlines()[:10]
    (tmp_path / "task.jsonl").write_text("\n".join(lines) + "\n")
    result = run(plan, "--task", tmp_path / "task.jsonl", "--out", tmp_path / "run", "--limit", 3, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["details"]["history"]["evaluations"] >= 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"merge_adapters": {"models": ["lab:mirror", "lab:order"], "weight": {"free": [0, 1]}}}, ConsortError),
        ({"linear": {"models": ["lab:mirror", "lab:b-echo"], "weight": {"free": [0, 1]}}}, ConsortError),
        ({"linear": {"models": ["lab:mirror", "lab:nothing"], "weight": {"free": [0, 1]}}}, ConsortError),
        ({"linear": {"models": ["lab:mirror"]}}, BadPlan),
    ],
)
def test_wrong_inputs_leave_nothing_behind(body, kind, task, tmp_path):
    with pytest.raises(kind):
        search(document(body, base=None), task=task, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_without_examples_is_refused_before_anything_is_made(task, tmp_path):
    with pytest.raises(BadData):
        search(document(LORA), task=replace(task, dev=()), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
