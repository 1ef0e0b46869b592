"""Evaluation by processes, by machines that share a folder, and by a Ray cluster that loses one of its two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest

from consort.core.errors import BadData, BadParameter, Unsupported
from consort.core.types import Completion, Usage
from consort.data import load_task
from consort.evaluate import evaluate
from consort.evaluate.parts import Part, joined, measured_part, spans
from consort.evaluate.run import Asked
from consort.lab import path
from consort.plan import build, read_plan
from consort.plan.expression import parse
from consort.runs.evaluation import PartJob, Question, evaluate_with, make_measurer
from consort.search.engine.workers import Ray
from tests.models.remote.misbehaving import answer, choice, misbehaving

PLANS = {"mirror": parse("lab:mirror"), "mean": parse({"linear": {"models": ["lab:mirror", "lab:order"]}})}


def same(result):
    """Without the time that it took."""
    still = {name: replace(usage, seconds=0) for name, usage in result.cost.items()}
    return json.dumps(
        replace(result, seconds=0, usage=replace(result.usage, seconds=0), cost=still).to_json(), allow_nan=False
    )


@pytest.fixture(scope="module")
def task():
    return load_task(path("tasks/skills"))


@pytest.fixture(scope="module")
def expected(task):
    return [same(evaluate(build(plan, "model"), task, limit=24, batch=8)) for plan in PLANS.values()]


@pytest.mark.parametrize("engine", ["local", "processes", "shared"])
def test_engines_find_what_one_process_finds(engine, task, expected, tmp_path):
    name = f"shared:{tmp_path}" if engine == "shared" else engine
    found = evaluate_with(name, PLANS, task, limit=24, batch=8, count=1)
    assert [same(result) for result in found] == expected
    if engine == "shared":
        kept = sorted(tmp_path.glob("*.json"))
        assert len(kept) == 2 * 3 + 1
        again = evaluate_with(name, PLANS, task, limit=24, batch=8)  # nothing is measured twice
        assert [same(result) for result in again] == expected and sorted(tmp_path.glob("*.json")) == kept
        with pytest.raises(BadParameter, match="another search"):
            evaluate_with(name, PLANS, task, limit=25, batch=8)


@pytest.mark.slow
def test_machines_that_share_a_folder_divide_the_work(task, expected, tmp_path):
    """Two programs of their own, the same command in each."""
    given = ["eval", "lab:mirror", "--task", "lab:tasks/skills", "--limit", "24", "--batch", "4", "--json"]
    command = [sys.executable, "-m", "consort", *given, "--engine", f"shared:{tmp_path}"]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [json.loads(program.communicate(timeout=300)[0])["systems"][0] for program in programs]
    assert told[0] == told[1] and told[0]["score"] == json.loads(expected[0])["score"]
    assert len(list(tmp_path.glob("*.claim.1"))) == 6 == len(list(tmp_path.glob("*.claim.*")))


def test_parts_go_to_json_and_back(task):
    asked = Asked.of(task, split="test", limit=20, seed=0)
    model = build(PLANS["mirror"], "model")
    parts = [measured_part(model, asked, *span) for span in spans(20, 6)]
    read = [Part.from_json(json.loads(json.dumps(part.to_json(), allow_nan=False))) for part in parts]
    assert joined(read, asked) == joined(parts, asked) and [p.measured.rows for p in read][0]
    assert spans(20, 6) == [(0, 6), (6, 12), (12, 18), (18, 20)]


class Odd:
    """Answers of which some end oddly."""

    name = "odd"

    def generate(self, prompts, sampling=None):
        reasons = ["stop" if len(prompt) % 2 else "content_filter" for prompt in prompts]
        return [Completion("x", finish_reason=reason, usage=Usage(1, 1, 1)) for reason in reasons]


def test_odd_endings_of_all_parts_are_told_together(task, caplog):
    asked = Asked.of(task, split="test", limit=20, seed=0)
    parts = [measured_part(Odd(), asked, *span) for span in spans(20, 6)]
    whole = evaluate(Odd(), task, limit=20)
    caplog.clear()
    found = joined(parts, asked)
    assert found.figures == whole.figures and found.figures["ended_content_filter"] > 0
    assert sum("content_filter" in record.message for record in caplog.records) == 1


def test_warnings_of_workers_are_told_here_once(tmp_path, caplog):
    """The first odd ending is told by the model, which is in the worker."""
    with misbehaving({"m": lambda ask: ask.reply(answer(choice("x", finish_reason="content_filter")))}) as server:
        (tmp_path / "task.jsonl").write_text('{"prompt": "a", "target": "x", "split": "test"}\n' * 4)
        plans = {"far": parse(f"openai:m@{server.url}")}
        [found] = evaluate_with("processes", plans, load_task(tmp_path / "task.jsonl"), count=1, batch=2)
    assert found.score == 1.0 and found.figures == {"ended_content_filter": 4.0}
    said = [record.getMessage() for record in caplog.records]
    assert sum("2 of 2 answers ended by 'content_filter'" in text for text in said) == 1


def test_what_cannot_be_asked(task, tmp_path):
    with pytest.raises(BadParameter, match="batch"):
        evaluate_with("local", PLANS, task, batch=0)
    with pytest.raises(BadParameter, match="no engine"):
        evaluate_with("cluster", PLANS, task)
    (tmp_path / "lines.jsonl").write_text('{"prompt": "a", "target": "b", "split": "test"}\n' * 3)
    table = {"t": parse({"table": str(tmp_path / "none.jsonl"), "column": "x"})}
    with pytest.raises(BadData):
        evaluate_with("processes", table, load_task(tmp_path / "lines.jsonl"), count=1)
    (tmp_path / "texts.jsonl").write_text('{"text": "a b c", "split": "test"}\n')
    remote = {"far": parse("openai:m@http://127.0.0.1:9/v1")}
    with pytest.raises(Unsupported):
        evaluate_with("local", remote, load_task(tmp_path / "texts.jsonl"))


def noting(file, question):
    """A measurer that notes which process measures what, slowly."""
    measure = make_measurer(question)

    def noted(job: PartJob):
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(f"{os.getpid()} {job.system} {job.start}\n")
        time.sleep(0.1)
        return measure(job)

    return noted


@pytest.mark.slow
def test_one_of_two_machines_is_lost_and_the_result_is_the_same(task, expected, tmp_path, monkeypatch):
    """Two nodes with two workers each; the second is taken away while they measure."""
    pytest.importorskip("ray.util", reason="ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    from consort.runs import evaluation

    alone = evaluate_with("local", PLANS, task, limit=24, batch=2)
    cluster, lost = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}), []
    file = tmp_path / "seen"
    try:
        second = cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False)

        def team(engine, make, count, evaluation_key, kind):
            placed, measurer, question = make.args[0], make.args[1], make.args[1].args[0]
            assert engine == "ray" and measurer.func is make_measurer
            hands = Ray(partial(make.func, placed, partial(noting, str(file), question)), count)
            whole = hands.map

            def mapped(jobs):
                for number, outcome in enumerate(whole(jobs)):
                    if number == 2:
                        lost.append(cluster.remove_node(second, allow_graceful=False))
                    yield outcome

            hands.map = mapped
            return hands

        monkeypatch.setattr(evaluation, "workers", team)
        found = evaluate_with("ray", PLANS, task, limit=24, batch=2, count=4)
        seen = [line.split(" ", 1) for line in file.read_text("utf-8").splitlines()]
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert lost and [same(result) for result in found] == [same(result) for result in alone]
    twice = len(seen) - len({job for _, job in seen})
    assert len({process for process, _ in seen}) == 4 and twice <= 2  # what the two lost workers had begun


@pytest.mark.slow
def test_a_fault_on_another_machine_is_the_users_as_here(task, tmp_path):
    pytest.importorskip("ray.util", reason="ray is not installed")
    with pytest.raises(BadData) as caught:
        evaluate_with("ray", {"t": parse({"table": str(tmp_path / "none.jsonl"), "column": "x"})}, task, count=1)
    assert type(caught.value) is BadData and caught.value.hint


def test_relative_paths_hold_in_workers(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(path("mirror"), tmp_path / "near")
    (tmp_path / "plan.yml").write_text("linear: {models: [near, near]}\n")
    plans = {"p": read_plan("plan.yml")}
    question = Question(plans, task, "test", 8, 0, os.getcwd(), False)
    monkeypatch.chdir("/")
    [part] = make_measurer(question)(PartJob("p", 0, 4))
    assert len(part.measured.rows) == 4
