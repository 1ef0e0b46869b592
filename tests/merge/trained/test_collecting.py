"""Training into a folder: resumable, refused by name, nothing left behind."""

from __future__ import annotations

import json

import pytest

import consort as c
from consort.core.errors import BadData, BadParameter, OutputExists
from consort.merge.trained import adamerging, collecting
from consort.merge.trained.collecting import Options, collect_trained, start_of
from consort.merge.trained.passages import Line

BRIEF = Options(steps=2, batch=4)


@pytest.mark.parametrize("kind", ["adamerging", "concrete", "surgery"])
def test_again_does_nothing_and_other_options_are_another_run(pair, kind, tmp_path):
    first = collect_trained(kind, pair.merged, pair.lines, tmp_path / "o", BRIEF)
    files = {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()}
    assert "training.safetensors" not in files and "config.json" in files
    assert collect_trained(kind, pair.merged, pair.lines, tmp_path / "o", BRIEF) == first
    assert {p.name: p.read_bytes() for p in (tmp_path / "o").iterdir()} == files
    with pytest.raises(OutputExists):
        collect_trained(kind, pair.merged, pair.lines, tmp_path / "o", Options(steps=3))
    again = collect_trained(kind, pair.merged, pair.lines, tmp_path / "p", BRIEF)
    assert (again.before, again.after) == (first.before, first.after)
    assert json.loads((tmp_path / "o" / "config.json").read_text())["trained"]["kind"] == kind


def test_a_killed_run_goes_on_to_the_same_result(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(adamerging, "EVERY", 2)
    options = Options(steps=5, batch=1, lr=0.01)
    lines = [line for line in pair.lines if line.task == "mirror"][:3]
    whole = collect_trained("adamerging", pair.merged, lines, tmp_path / "whole", options)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(collecting, "write_found", killed)
        with pytest.raises(KeyboardInterrupt):
            collect_trained("adamerging", pair.merged, lines, tmp_path / "o", options)
    assert (tmp_path / "o" / "training.safetensors").exists()
    resumed = collect_trained("adamerging", pair.merged, lines, tmp_path / "o", options)
    assert resumed.after == whole.after
    assert (tmp_path / "o" / "config.json").read_bytes() == (tmp_path / "whole" / "config.json").read_bytes()


def test_wrong_input_is_refused_and_leaves_nothing(pair, tmp_path):
    out, merged, lines = tmp_path / "o", pair.merged, pair.lines
    soup = c.merge("linear", pair.models)
    cases = [
        (BadParameter, "nothing is trained", ("adamergin", merged, lines, BRIEF)),
        (BadParameter, "is not a merge", ("adamerging", pair.base, lines, BRIEF)),
        (BadParameter, "linear is not what is trained", ("adamerging", soup, lines, BRIEF)),
        (BadParameter, "is no grain", ("adamerging", merged, lines, Options(grain="row"))),
        (BadParameter, "at -1", ("concrete", merged, lines, Options(lr=-1))),
        (BadData, "no passages for order", ("surgery", merged, [Line("a", "b", "mirror")], BRIEF)),
        (BadData, "no answer has a token", ("adamerging", merged, [Line("mirror a =", "", "")], Options(max_tokens=2))),
    ]
    for error, message, (kind, given, passages, options) in cases:
        with pytest.raises(error, match=message):
            collect_trained(kind, given, passages, out, options)
        assert not out.exists(), message


def test_training_starts_from_the_merges_weights(pair):
    def merge(**more):
        return c.merge("task_arithmetic", pair.models, base=pair.base, **more)

    assert start_of(merge()) == (0.3, 0.3)
    assert start_of(merge(weight=[0.5, 0.25], lambda_=0.5)) == (0.25, 0.125)
    assert start_of(merge(weight=[2.0, -1.0])) == (1.0, 0.0)
    with pytest.raises(BadParameter, match="schedules"):
        start_of(merge(weight={"by_layer": [0.1, 0.9]}))
