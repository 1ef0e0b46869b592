"""Runs side by side: a claim about winners only where they met the same examples, and no stronger than its interval."""

from __future__ import annotations

import copy
from pathlib import Path

from consort.report.schema import checked_run
from consort.report.several import render_several


def run(raw):
    return checked_run(raw, Path("results.json"))


def test_the_better_winner_is_named(run_json, lost_json):
    html = render_several([run(lost_json), run(run_json)], ["one", "two"])
    assert "<h1>two is better</h1>" in html and "On 320 examples of skills" in html
    assert html.count('data-name="runs"') == 1 and "all of one" in html


def test_equal_winners_are_level_and_equal_names_told_apart(run_json):
    html = render_several([run(run_json), run(copy.deepcopy(run_json))], ["out", "out"])
    assert "winners are level" in html and "out (1)" in html and "out (2)" in html


def test_other_examples_are_not_compared(run_json):
    other = copy.deepcopy(run_json)
    other["task"]["key"] = "other"
    for result in other["test"]:
        result["examples_key"] = "other"
    html = render_several([run(run_json), run(other)], ["a", "b"])
    assert "<h1>2 runs side by side</h1>" in html and "scores are not comparable" in html
    assert "On 320 examples of skills" not in html


def test_an_unfinished_run_stands_beside_a_finished_one(run_json):
    begun = {"schema": 1, "consort": "0.1.0", "verb": "auto", "task": run_json["task"], "singles_fit": {"a<b>": 0.5}}
    begun["progress"] = {"state": "running", "phase": "searching", "done": 3, "total": 9}
    html = render_several([run(run_json), run(begun)], ["a", "b"])
    assert "running" in html and "a&lt;b&gt;" in html and "a<b>" not in html
