"""A metric is one file: declared, registered, checked in task files, used; wherever it comes from."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from consort.core.errors import BadData, BadParameter, UnknownName
from consort.core.registry import Registry
from consort.data import load_task
from consort.data.registry import METRICS
from consort.evaluate import compare, evaluate
from consort.evaluate.registry import find_metric
from consort.models.fake import FakeModel

ROW = {"prompt": "2+2=", "target": "4"}
NEAR = '''
from __future__ import annotations
from typing import Annotated
from consort.core.params import Range
from consort.core.types import Example
from consort.evaluate.registry import metric

@metric(needs=("target", "group"), unit=True)
def near_miss(answer: str, example: Example, *, within: Annotated[int, Range(0, 10)] = 1) -> float:
    """1 if the answer is a number so near to the target."""
    return float(abs(int(answer) - int(example.target[0])) <= within)
'''


@pytest.fixture
def task(tmp_path):
    def write(settings, row=ROW):
        (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / "task.yml").write_text(f"test: t.jsonl\n{settings}\n")
        return load_task(tmp_path, allow_code=True)

    return write


@pytest.mark.parametrize("settings", ["metric: contains\nlast_words: 5", "metric: {contains: {last_words: 5}}"])
def test_options_stand_flat_or_with_the_metric(task, settings):
    made = task(settings)
    assert made.metric_options == {"last_words": 5} and made.key == task("metric: contains\nlast_words: 5").key
    assert made.key != task("metric: contains").key
    assert (
        evaluate(FakeModel(lambda _: "4 1 2 3 4 5"), made).score
        == 0 + evaluate(FakeModel(lambda _: "4"), task("metric: contains")).score
    )


@pytest.mark.parametrize(
    ("settings", "error", "field", "message", "hint"),
    [
        ("metric: {contains: {last_word: 5}}", BadParameter, "metric.contains.last_word", "last_word", "last_words"),
        ("metric: {contains: {last_words: -1}}", BadParameter, "metric.contains.last_words", "outside", "[0, 1e+06]"),
        ("metric: {contains: 5}", BadData, "metric.contains", "not options", "{option: value}"),
        ("metric: {contians: {last_words: 5}}", UnknownName, "metric", "contians", "contains"),
        ("metric: contains\nlast_wrods: 5", BadData, "task.yml", "last_wrods", "last_words"),
        ("metric: contains\ntolerance: 0.1", BadData, "task.yml", "tolerance", "option of numeric"),
        ("metric: numeric\ntolerance: 2", BadParameter, "tolerance", "outside", "[0, 1]"),
        ("metric: {numeric: {tolerance: .1}}\ntolerance: .1", BadData, "metric.numeric.tolerance", "twice", "one"),
        ("tolerance: .1", BadData, "task.yml", "tolerance", "numeric"),
    ],
)
def test_bad_options_are_named(task, settings, error, field, message, hint):
    with pytest.raises(error) as caught:
        task(settings)
    assert caught.value.field.endswith(field) and message in caught.value.message and hint in caught.value.hint


def test_a_function_of_ones_own_with_options(task, tmp_path, monkeypatch):
    code = """
from typing import Annotated, Literal
from consort.core.params import Range
def share(answer, example, *, of: Annotated[int, Range(1, 9)] = 2, how: Literal["a", "b"] = "a"):
    return len(answer) / of
"""
    (tmp_path / "own_options.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert evaluate(FakeModel(lambda _: "abc"), task("metric: {own_options:share: {of: 6}}")).score == 0.5
    with pytest.raises(BadParameter, match="metric.own_options:share.of: 10 is outside") as caught:
        task("metric: {own_options:share: {of: 10}}")
    assert caught.value.hint
    with pytest.raises(BadData, match="unknown key 'oft'") as caught:
        task("metric: own_options:share\noft: 3")
    assert caught.value.hint == "did you mean 'of'?"


def test_a_plug_in_is_a_metric_like_any_other(task, tmp_path, monkeypatch):
    (tmp_path / "near_miss_plugin.py").write_text(NEAR)
    monkeypatch.syspath_prepend(tmp_path)
    info = tmp_path / "near_miss_plugin-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: near-miss-plugin\nVersion: 0.1\n")
    groups = [METRICS.package, "consort.metric"]  # the group by the package, and its stable name
    points = "".join(f"[{group}]\nnear = near_miss_plugin\n" for group in groups)
    (info / "entry_points.txt").write_text(points)
    script = f"""
import sys
from consort.data import load_task
from consort.core.errors import ConsortError
from consort.plan.kinds import entries
assert "near_miss" in [e.name for e in entries("metric")], entries("metric")
assert "torch" not in sys.modules
task = load_task({str(tmp_path)!r})
assert task.metric_options == {{"within": 3}} and "torch" not in sys.modules
from consort.evaluate import evaluate
from consort.models.fake import FakeModel
found = evaluate(FakeModel(lambda _: "6"), task)
assert found.score == 1 and found.interval[0] < 1, found
print("done")
"""
    (tmp_path / "t.jsonl").write_text(json.dumps(ROW | {"group": "g"}) + "\n")
    (tmp_path / "task.yml").write_text("test: t.jsonl\nmetric: {near_miss: {within: 3}}\n")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=_paths(tmp_path))
    assert run.stdout == "done\n", run.stderr
    (tmp_path / "t.jsonl").write_text(json.dumps(ROW) + "\n")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=_paths(tmp_path))
    assert "the column group is missing" in run.stderr and "BadData" in run.stderr


def _paths(*more):
    return os.environ | {"PYTHONPATH": ":".join([*map(str, more), os.environ.get("PYTHONPATH", "")])}


def test_a_decorated_function_is_a_metric_by_its_place(task, tmp_path, monkeypatch):
    (tmp_path / "near_placed.py").write_text(NEAR.replace("near_miss", "near_placed_miss"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadData, match="the column group is missing"):
        task("metric: near_placed:near_placed_miss")
    made = task("metric: {near_placed:near_placed_miss: {within: 2}}", ROW | {"group": "g"})
    found = evaluate(FakeModel(lambda _: "6"), made)
    assert found.score == 1 and compare([found]).systems[0].interval == found.interval
    assert find_metric(made.metric).unit and found.interval == pytest.approx((0.2065, 1), abs=1e-3)


def test_metrics_are_read_without_importing_them():
    fresh = Registry("metric", "consort.evaluate.metrics", decorator="metric")
    entry = fresh.entries()["numeric"]
    assert entry.options["needs"] == ("target",) and [p.describe() for p in entry.params] == ["float in [0, 1]"]
