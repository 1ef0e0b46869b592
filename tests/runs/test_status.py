"""What a run says of itself while it runs, after a kill, and when it has finished; reports at any time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consort.core.errors import BadData
from consort.core.journal import Journal
from consort.core.progress import Watch, read_progress, watched
from consort.recipes.auto.run import auto
from consort.runs import trials
from consort.runs.reporting import report
from consort.runs.status import status_of

MODELS = ["lab:mirror", "lab:order"]


@pytest.fixture
def task(tmp_path):
    from consort import lab

    lines = (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()
    own = [line for line in lines if json.loads(line)["group"] in ("mirror", "order")]
    (tmp_path / "task.jsonl").write_text("\n".join(own[:40]))
    return tmp_path / "task.jsonl"


class Killed(BaseException): ...


def cut(monkeypatch, at):
    """End a run at its `at`-th evaluation, as a kill would."""
    plain, calls = trials.evaluate, []

    def dies(*given, **more):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return plain(*given, **more)

    monkeypatch.setattr(trials, "evaluate", dies)


def without_times(value):
    """A document without wall times."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "seconds"}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def results(folder):
    return without_times(json.loads((folder / "results.json").read_text()))


def test_D4_a_cut_run_says_what_is_known_and_has_a_report(task, tmp_path, monkeypatch):
    with monkeypatch.context() as context, pytest.raises(Killed):
        cut(context, 7)
        auto(MODELS, task=task, out=tmp_path / "run", budget=6)
    found = status_of(tmp_path / "run")
    assert (found.verb, found.state, found.phase, found.total) == ("auto", "killed", "searching", 6)
    assert found.best["name"] in ("mirror", "order", "uniform soup", "greedy soup of 2") and found.best["score"] > 0
    html = report([tmp_path / "run"]).read_text("utf-8")
    assert "Stopped before its end: the best so far is" in html and "The same command goes on where it was" in html
    assert "What was tried" in html and "linear" in html and "test has not been read" in html
    auto(MODELS, task=task, out=tmp_path / "run", budget=6)
    assert status_of(tmp_path / "run").state == "finished" and not (tmp_path / "run" / "progress.json").exists()


def test_F7_costs_are_under_their_own_models_and_a_resumed_run_is_the_same(task, tmp_path, monkeypatch):
    auto(MODELS, task=task, out=tmp_path / "whole", budget=6)
    for at in (2, 6, 8):
        out = tmp_path / f"cut-{at}"
        with monkeypatch.context() as context, pytest.raises(Killed):
            cut(context, at)
            auto(MODELS, task=task, out=out, budget=6)
        auto(MODELS, task=task, out=out, budget=6)
        assert results(out) == results(tmp_path / "whole")
        assert (out / "plan.yml").read_bytes() == (tmp_path / "whole" / "plan.yml").read_bytes()
    costs = {r["model"]: list(r["cost"]) for r in results(tmp_path / "whole")["test"]}
    assert costs["mirror"] == ["mirror"] and costs["order"] == ["order"]
    assert [list(r["cost"]) for r in results(tmp_path / "whole")["singles"]] == [["mirror"], ["order"]]


def test_D7_two_models_of_one_shape_are_told_apart(task, tmp_path):
    auto(MODELS, task=task, out=tmp_path / "run", budget=1)
    one, two = (entry["weights_sha256"] for entry in results(tmp_path / "run")["provenance"]["inputs"])
    assert one != two and len(one) == 64
    html = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert one in html and two in html


def test_F19_a_running_one_is_running_and_a_second_is_refused(tmp_path):
    code = """
import sys, time
from pathlib import Path
from consort.core.journal import Journal
from consort.core.progress import watched
journal = Journal(Path(sys.argv[1]), "k", about={"verb": "auto", "seed": 3})
journal.open()
with watched(journal.folder, "auto") as watch:
    watch.phase("searching", 10)
    watch.found("ties", 0.75)
    watch.tell(4)
    watch.write()
    print("ready", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        found = status_of(tmp_path / "run")
        assert (found.state, found.done, found.total, found.phase) == ("running", 4, 10, "searching")
        assert found.best == {"name": "ties", "score": 0.75} and found.left_s is not None
        assert "best so far: ties, 0.7500" in found.lines
        shown = subprocess.run(
            [sys.executable, "-m", "consort", "status", str(tmp_path / "run"), "--json"], capture_output=True, text=True
        )
        assert json.loads(shown.stdout)["state"] == "running"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert status_of(tmp_path / "run").state == "killed" and status_of(tmp_path / "run").left_s is None


def test_what_is_no_run_is_refused(tmp_path):
    for folder, says in ((tmp_path, "neither results.json nor journal"), (tmp_path / "none", "is no folder")):
        with pytest.raises(BadData, match=says):
            status_of(folder)
        with pytest.raises(BadData, match=says):
            report([folder])


def test_progress_is_kept_and_gone_at_the_end(tmp_path, capsys, monkeypatch):
    with watched(tmp_path, "auto") as watch:
        watch.phase("searching", 8)
        watch.found("a", 0.25)
        watch.found("b", 0.125)  # no better
        watch.tell(2, known=1)
        watch.write()
        told = read_progress(tmp_path)
        assert (told["done"], told["total"], told["best"]) == (2, 8, {"name": "a", "score": 0.25})
        assert told["left_s"] is not None and told["process"] == os.getpid()
        monkeypatch.setattr("consort.core.progress.EVERY_S", 0.0)
        watch.tell(4, known=1)
        assert "searching: 4 of 8, best so far 0.2500 (a), about " in capsys.readouterr().err
    assert read_progress(tmp_path) == {}


def test_time_left_counts_what_is_new(tmp_path, monkeypatch):
    clock = iter([0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    from consort.core.progress import Pace

    pace = Pace(20.0)
    pace.reached(12.0, known=10.0)
    next(clock), next(clock)
    assert pace.left_s == pytest.approx((20 - 12) * 10.0 / 2)


def test_another_run_in_the_folder_is_named_by_what_differs(tmp_path):
    from consort.core.errors import OutputExists

    Journal(tmp_path / "run", "k1", about={"verb": "auto", "seed": 0, "budget": 8}).open()
    with pytest.raises(OutputExists, match="differs in seed: 0 -> 1; budget: 8 -> 40"):
        Journal(tmp_path / "run", "k2", about={"verb": "auto", "seed": 1, "budget": 40}).open()


def test_a_watch_writes_nothing_where_there_is_no_folder(tmp_path):
    watch = Watch(Path(tmp_path / "none"), "auto", lambda amount, total: None)
    watch.phase("searching", 3)
    assert not (tmp_path / "none").exists()
