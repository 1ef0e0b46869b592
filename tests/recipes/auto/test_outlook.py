"""What `auto` would try, foretold from headers, tokenizers and the task: nothing runs, nothing is written."""

from __future__ import annotations

import json

import pytest

from consort import lab
from consort.core.errors import BadParameter, ConsortError
from consort.recipes.auto import outlook as foreseen
from consort.recipes.auto.inputs import STAGES
from consort.recipes.auto.outlook import outlook

MODELS = ["lab:base", "lab:mirror", "lab:order", "lab:b-peel"]


@pytest.fixture
def task(tmp_path):
    lines = (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()
    own = [line for line in lines if json.loads(line)["group"] in ("mirror", "order")]
    (tmp_path / "task.jsonl").write_text("\n".join(own[:40]))
    return tmp_path / "task.jsonl"


def test_every_stage_is_foretold_within_the_budget(task):
    found = outlook(MODELS, task=task, budget=40)
    assert [part.name for part in found.parts] == [
        "single models",
        *(stage.name for stage in STAGES),
        "the end",
    ]
    assert sum(part.trials for part in found.parts) == 40
    assert found.families == (("base", "mirror", "order"), ("b-peel",)) and found.base == ("base", None)
    assert found.seconds == pytest.approx(sum(part.seconds for part in found.parts)) and found.seconds > 0
    assert found.bytes >= 4 * 4 * 400_000  # the models of a team of three, and the one that is made
    assert any(line.startswith("in all: time at most about ") for line in found.lines)
    assert any(line.startswith("no trials are kept for: ") and "retrieval" in line for line in found.lines)
    assert json.loads(json.dumps(found.to_json()))["examples"]["fit"] == found.examples["fit"]


def test_time_grows_with_size_and_budget(task, monkeypatch):
    class Slow:
        operations_s = 1e6

    plain = outlook(MODELS[:3], task=task, budget=10).seconds
    assert outlook(MODELS[:3], task=task, budget=80).seconds > plain
    monkeypatch.setattr(foreseen, "_Speed", Slow)
    assert outlook(MODELS[:3], task=task, budget=10).seconds > 100 * plain


def test_endpoints_have_no_time_that_could_be_told_and_tables_none(task, tmp_path):
    rows = [{"prompt": json.loads(line)["prompt"], "scores": {"a": 1, "b": 0}} for line in task.read_text().split("\n")]
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    assert outlook([f"table:{table}#a", f"table:{table}#b"], task=f"table:{table}", budget=5).seconds < 1
    assert outlook(["lab:mirror", "openai:x@http://127.0.0.1:9"], task=task, budget=5).seconds is None


@pytest.mark.parametrize(("models", "options", "error"), [([], {}, BadParameter), (["no/folder"], {}, ConsortError)])
def test_what_a_run_refuses_is_refused(models, options, error, task):
    with pytest.raises(error):
        outlook(models, task=task, budget=5, **options)


def test_the_verb_prints_it_and_leaves_nothing(task, tmp_path):
    from typer.testing import CliRunner

    from consort.cli.app import app

    command = ["auto", *MODELS, "--task", str(task), "--out", str(tmp_path / "run"), "--dry-run"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0 and "merging: soups, task arithmetic" in shown.stdout and "in all: time" in shown.stdout
    assert json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["models"][0] == "base"
    assert not (tmp_path / "run").exists()
