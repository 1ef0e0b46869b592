"""The whole fusion by a plan: stage by stage, resumed, one more source, refusals in one line."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from consort import lab
from consort.core.errors import (
    BadCheckpoint,
    BadData,
    BadParameter,
    BadPlan,
    ConsortError,
    Incompatible,
    OutputExists,
    UnknownName,
)
from consort.distil import store
from consort.fuse import training
from consort.plan.fuse.plan import parse_fuse
from consort.recipes.fusechat import result as fusechat_result
from consort.recipes.fusechat import rows as fusechat_rows
from consort.recipes.fusechat import run as fusechat
from consort.recipes.fusechat.run import fuse, opened

THREE = ["lab:teacher-north", "lab:teacher-south", "lab:pivot"]
TRAIN = {"steps": 2, "batch": 4, "part": 4, "lr": 1e-3, "save_every": 1}


@pytest.fixture
def plan(tmp_path):
    lines = (lab.path("tasks/facts") / "train.jsonl").read_text().splitlines()
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines[::77]))
    return {
        "pivot": "lab:pivot",
        "sources": ["lab:teacher-north"],
        "corpus": str(tmp_path / "corpus.jsonl"),
        "collect": {"block": 64, "shard": 4},
        "train": TRAIN,
    }


def model_bytes(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


class Killed(BaseException): ...


def killing(monkeypatch, where, name, at):
    """Let the `at`-th call of a function end the run, as a kill would."""
    real, calls = getattr(where, name), []

    def dies(*arguments, **options):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return real(*arguments, **options)

    monkeypatch.setattr(where, name, dies)
    return calls


def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(plan, tmp_path, monkeypatch):
    plan = plan | {"sources": ["lab:teacher-north", "lab:teacher-south"]}
    whole = fuse(plan, tmp_path / "whole")
    assert set(whole.students) == {"teacher-north", "teacher-south"}
    assert whole.comparison is None
    out = tmp_path / "killed"
    for where, name, at in (
        (store, "read_rows", 3),
        (fusechat_rows, "align", 2),
        (fusechat_rows, "train", 2),
        (training, "write", 1),
        (fusechat_result, "write", 1),
        (fusechat, "write_results", 1),
    ):
        with monkeypatch.context() as context:
            calls = killing(context, where, name, at)
            with pytest.raises(Killed):
                fuse(plan, out)
            assert calls
    with monkeypatch.context() as context:
        for where, name in ((store, "read_rows"), (fusechat_rows, "train"), (fusechat_result, "write")):
            killing(context, where, name, 1)  # nothing is done twice
        fuse(plan, out)
    assert model_bytes(out) == model_bytes(tmp_path / "whole")
    assert json.loads((out / "results.json").read_text())["details"]["fusion"]["chosen"] == whole.chosen


def test_one_more_source_costs_its_own_pair_and_a_merge(plan, tmp_path, monkeypatch):
    (student,) = fuse(plan, tmp_path / "out").students.values()
    left = training.state_of(student)
    left.write_bytes(b"")  # a kill between the last write and the removal
    trained, read = killing(monkeypatch, fusechat_rows, "train", 99), killing(monkeypatch, store, "read_rows", 99)
    more = plan | {"sources": ["lab:teacher-north", "lab:teacher-south"]}
    fuse(more, tmp_path / "out")
    assert not left.exists()
    shards = -(-len(opened(plan, tmp_path / "x").documents) // 4)
    assert (len(trained), len(read)) == (1, shards)
    monkeypatch.undo()
    fuse(more, tmp_path / "anew")
    assert model_bytes(tmp_path / "out") == model_bytes(tmp_path / "anew")


def test_together_and_online_with_a_task(plan, tmp_path):
    (tmp_path / "task.jsonl").write_text('{"prompt": "the capital of x is", "target": "osk", "split": "test"}\n' * 2)
    more = plan | {
        "sources": ["lab:teacher-north", "lab:teacher-south"],
        "mode": "together",
        "task": str(tmp_path / "task.jsonl"),
        "control": True,
        "collect": {"block": 64, "teacher": "online"},
    }
    found = fuse(more, tmp_path / "out")
    assert list(found.students) == ["together"]
    names = [system.result.model for system in found.comparison.systems]
    assert names == ["fused", "together student", "control", "pivot", "teacher-north", "teacher-south"]
    assert "differs from control by" in found.headline
    assert not (tmp_path / "out" / "rows").exists()


def test_rows_recorded_elsewhere(plan, tmp_path):
    first = fuse(plan, tmp_path / "first")
    (rows,) = (tmp_path / "first" / "rows").glob("teacher-north-*")
    given = plan | {"sources": [{"model": "lab:teacher-north", "rows": str(rows)}]}
    fuse(given, tmp_path / "second")
    assert model_bytes(tmp_path / "second") == model_bytes(first.folder)
    with pytest.raises(Incompatible, match="another vocabulary"):
        fuse(plan | {"sources": [{"model": "lab:teacher-south", "rows": str(rows)}]}, tmp_path / "third")
    (tmp_path / "other.jsonl").write_text('{"text": "something else"}')
    with pytest.raises(Incompatible, match="none of the corpus' documents"):
        fuse(given | {"corpus": str(tmp_path / "other.jsonl")}, tmp_path / "fourth")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sorces": []}, BadPlan, "unknown key 'sorces'"),
        ({"sources": []}, BadPlan, "sources: is missing"),
        ({"sources": "lab:teacher-north"}, BadPlan, "not a list of models"),
        ({"sources": ["lab:teacher-nroth"]}, UnknownName, "no lab model"),
        ({"sources": ["lab:teacher-north"] * 2}, BadPlan, "named twice"),
        ({"train": {"stpes": 3}}, ConsortError, "train has no parameter 'stpes'"),
        ({"train": {"lam": 2}}, ConsortError, r"2 is outside \[0, 1\]"),
        ({"fuse": {"unit": "word"}}, ConsortError, "fuse.unit"),
        ({"fuse": {"function": "weighted", "weights": [1]}}, ConsortError, "1 weights"),
        ({"fuse": {"function": "weighted", "weights": [0, 0]}}, BadParameter, "are all 0"),
        ({"collect": {"mass": 0}}, ConsortError, "collect.mass"),
        ({"sources": ["http://localhost:8000/v1"]}, BadPlan, r"sources\[0\]: is an endpoint"),
        ({"sources": [{"model": "lab:pivot", "tokeniser": "bytes"}]}, BadPlan, "unknown key 'tokeniser'"),
        ({"sources": [None]}, BadPlan, r"sources\[0\]: an expression has one key"),
        ({"train": {"rank": 4}, "pivot": "lab:teacher-north", "sources": THREE[1:2]}, BadParameter, "no layers for"),
        ({"merge": {"sce": {"select_topk": 2}}}, ConsortError, "merge.sce.select_topk: 2 is outside"),
        ({"merge": {"scee": {}}}, ConsortError, "no method named 'scee'"),
        ({"merge": {"sce": {"base": "x"}}}, BadPlan, "the pivot is its base"),
        ({"merge": {"average": {}}}, BadPlan, "is not a merge"),
        ({"merge": {"slerp": {"t": 0.5}}, "sources": THREE}, ConsortError, "slerp"),
        ({"sources": ["lab:base"]}, Incompatible, "cannot write the texts"),
        ({"corpus": "missing.jsonl"}, BadData, "no such file"),
        ({"mode": "pairs"}, ConsortError, "plan.mode"),
        ({"sources": ["lab:reward"]}, Incompatible, "predicts no tokens"),
        ({"collect": {"block": 300}, "corpus": "LONG"}, Incompatible, "its window 256"),
        ({"train": {"dtype": "bfloat16"}}, BadParameter, "learns in float32"),
        ({"sample": {"each": 3}}, BadPlan, "means nothing in the mode"),
        ({"mode": "preference"}, BadPlan, "means nothing in the mode preference"),
    ],
)
def test_wrong_plans_are_refused_before_any_work(plan, tmp_path, change, error, message):
    if change.get("corpus") == "LONG":
        (tmp_path / "long.jsonl").write_text(json.dumps({"text": "osk " * 400}))
        change = change | {"corpus": str(tmp_path / "long.jsonl")}
    with pytest.raises(error, match=message):
        fuse(plan | change, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_refused(plan, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(OutputExists):
        fuse(plan, tmp_path / "out")


def test_a_training_that_diverges_says_so_and_leaves_the_rows(plan, tmp_path, monkeypatch):
    def explodes(optimizer):  # which rate makes weights explode hangs on the processor's rounding
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.data.fill_(torch.inf)

    monkeypatch.setattr("torch.optim.AdamW.step", explodes)
    with pytest.raises(BadParameter, match="train.lr: is too large: at step"):
        fuse(plan, tmp_path / "out")
    assert list((tmp_path / "out" / "rows").iterdir())
    assert not list((tmp_path / "out" / "students").iterdir())


def test_a_run_inside_the_parts_of_a_merged_pivot_is_refused(plan, tmp_path):
    shutil.copytree(lab.path("pivot"), tmp_path / "part")
    merged = {"linear": {"models": ["lab:pivot", str(tmp_path / "part")]}}
    with pytest.raises(OutputExists, match="overlaps the input"):
        fuse(plan | {"pivot": merged}, tmp_path / "part" / "out")


def test_a_model_of_bytes_is_named_with_its_tokenizer(plan):
    checked = parse_fuse(plan | {"sources": [{"model": "folder", "tokenizer": "bytes"}]})
    assert checked.sources[0].model.tokenizer == "bytes"
    assert parse_fuse(checked.to_json()) == checked


def test_plans_survive_the_round_trip(plan):
    more = plan | {"merge": {"linear": {"weight": 0.5}}, "fuse": {"function": "weighted", "weights": [1, 2]}, "seed": 7}
    checked = parse_fuse(more)
    assert parse_fuse(checked.to_json()) == checked


def broken(tmp_path, name, change):
    """A copy of the northern teacher, its embeddings changed."""
    shutil.copytree(lab.path("teacher-north"), tmp_path / name)
    file = tmp_path / name / "model.safetensors"
    tensors = load_file(file)
    tensors["transformer.wte.weight"] = change(tensors["transformer.wte.weight"])
    save_file(tensors, file, metadata={"format": "pt"})
    return str(tmp_path / name)


def test_a_teacher_of_nan_leaves_nothing(plan, tmp_path):
    teacher = broken(tmp_path, "nan", lambda t: torch.full_like(t, torch.nan))
    with pytest.raises(BadCheckpoint, match="NaN or infinite"):
        fuse(plan | {"sources": [teacher]}, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_a_teacher_whose_predictions_are_nan_leaves_finished_rows_only(plan, tmp_path, monkeypatch):
    def raises(*_):
        raise BadCheckpoint("its predictions are not finite numbers")

    with monkeypatch.context() as context, pytest.raises(BadCheckpoint):
        context.setattr(store, "read_rows", raises)
        fuse(plan, tmp_path / "out")  # the pivot's very first shard: no work is finished
    assert not (tmp_path / "out").exists()
    real, calls = store.read_rows, []
    monkeypatch.setattr(store, "read_rows", lambda *a: (calls.append(1), raises if len(calls) > 2 else real)[1](*a))
    with pytest.raises(BadCheckpoint):
        fuse(plan, tmp_path / "out")
    assert len(list((tmp_path / "out" / "rows").glob("*/rows-*.safetensors"))) == 2


def test_a_tokenizer_of_another_vocabulary_is_refused(plan, tmp_path):
    teacher = broken(tmp_path, "small", lambda t: t[:40].clone())
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    (tmp_path / "small" / "config.json").write_text(json.dumps(config | {"vocab_size": 40}))
    with pytest.raises(Incompatible, match="its tokenizer has a token"):
        fuse(plan | {"sources": [teacher]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_would_be_mixed_up_are_refused(plan, tmp_path):
    for name, message in (("pivot", "another model than the pivot"), ("control", "what a student is called")):
        with pytest.raises(BadPlan, match=message):
            parse_fuse(plan | {"sources": [str(tmp_path / name)]})
