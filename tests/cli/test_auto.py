"""`consort auto` as a stranger would use it: refusals in two lines, interruptions, runs that are moved."""

from __future__ import annotations

import json
import shutil

import pytest

from consort import lab
from consort.runs import trials


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder, the current one, with a task of two skills and little else."""
    rows = [row for row in (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines() if '"mirror"' in row][:12]
    lines = [{**json.loads(row), "split": "test" if n % 3 == 2 else "dev"} for n, row in enumerate(rows)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "one.jsonl").write_text(json.dumps({**lines[0], "split": "dev"}) + "\n")
    (tmp_path / "plan.yml").write_text("linear: {models: [lab:mirror, lab:order]}\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--budget", "0"], "--budget"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--budget", "-3"], "--budget"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--budget", "many"], "--budget"),
        (["lab:mirror", "--task", "empty.jsonl", "--out", "run"], "no examples"),
        (["lab:mirror", "--task", "one.jsonl", "--out", "run"], "too few"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "full"], "not empty"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--maximize", "speed"], "'speed' cannot be maximised"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--max-cost", "0"], "max-cost"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--max-latency", "nan"], "max-latency"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--hours", "-1"], "hours"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--hours", "1", "--recipe", "model_glue"], "--hours"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--price", "mirror"], "is no price"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--price", "mirror=dear"], "is no price"),
        (["lab:mirror", "--task", "t.jsonl", "--out", "run", "--price", "mirror=1"], "has weights"),
        (["plan.yml", "lab:mirror", "--task", "t.jsonl", "--out", "run"], "plan.yml"),
        (["lab:mirror", "bad", "lab:nope", "--task", "t.jsonl", "--out", "run"], "lab:nope"),
        (["lab:mirror", "lab:order", "--base", "lab:bse", "--task", "t.jsonl", "--out", "run"], "no lab model"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(arguments, says, here, refused):
    before = sorted(here.rglob("*"))
    assert says in refused("auto", *arguments)
    assert sorted(here.rglob("*")) == before


@pytest.mark.slow  # it is tried again a few times, with pauses
def test_an_endpoint_that_does_not_answer_ends_the_run(here, refused):
    assert "127.0.0.1:9" in refused(
        "auto", "lab:mirror", "openai:x@http://127.0.0.1:9", "--task", "t.jsonl", "--out", "run", code=3
    )
    assert not (here / "run").exists()


def test_an_interrupted_run_says_how_to_go_on(here, consort, monkeypatch):
    plain, calls = trials.evaluate, []

    def interrupted(*given, **more):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(*given, **more)

    monkeypatch.setattr(trials, "evaluate", interrupted)
    command = ["auto", "lab:mirror", "lab:order", "--task", "t.jsonl", "--out", "run", "--budget", "2"]
    shown = consort(*command)
    assert shown.code == 130 and shown.err.splitlines()[-1] == "interrupted; the same command continues"
    assert (here / "run" / "journal.jsonl").read_text().count('"result": ') == 3
    assert consort(*command).code == 0 and (here / "run" / "plan.yml").exists()


def test_a_moved_run_of_models_in_folders_is_evaluated_from_there(here, consort, monkeypatch):
    for name in ("mirror", "order"):
        shutil.copytree(lab.path(name), here / "models" / name)
    command = ["auto", "models/mirror", "models/order", "--task", "t.jsonl", "--out", "run", "--budget", "2"]
    assert consort(*command).code == 0
    moved = shutil.move(here / "run", here / "full" / "run")
    monkeypatch.chdir(moved)
    assert consort("eval", "plan.yml", "--task", here / "t.jsonl").code == 0
    assert consort("generate", "model", "mirror a b =").code == 0


def test_the_front_is_printed_and_its_plans_are_evaluated(here, consort):
    command = ["auto", "lab:mirror", "lab:order", "--task", "t.jsonl", "--out", "run", "--budget", "2"]
    shown = consort(*command, "--max-cost", "1e9", "--hours", "5")
    assert shown.code == 0 and "looked at: " in shown.out
    [title] = [line for line in shown.out.splitlines() if line.startswith("front ")]
    assert title.split()[-1] == "plan"
    plans = sorted((here / "run" / "plans").iterdir())
    assert plans and all(f"plans/{plan.name}" in shown.out for plan in plans)
    again = consort("eval", plans[0], "--task", "t.jsonl", "--json")
    [system] = json.loads(again.out)["systems"]
    [point] = [p for p in json.loads((here / "run/results.json").read_text())["front"] if plans[0].name in p["plan"]]
    assert system["score"] == point["test"]


def test_where_no_system_keeps_a_limit_the_nearest_is_named(here, consort):
    shown = consort(
        "auto", "lab:mirror", "lab:order", "--task", "t.jsonl", "--out", "run", "--max-cost", "10", "--budget", "1"
    )
    error, hint = shown.err.splitlines()[-2:]
    assert shown.code == 2 and error == "error: --max-cost 10: no system keeps it"
    assert hint.startswith("hint: the cheapest is ")


def test_a_model_named_twice_in_a_zoo_is_refused(refused):
    assert "lab:mirror: is named 2 times" in refused("zoo", "similarity", "lab:mirror", "lab:order", "lab:mirror")
