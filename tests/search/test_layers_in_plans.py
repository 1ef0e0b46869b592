"""Spaces of layers in search plans: coordinates for blocks of layers, and paths through layers; the verb with both."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import consort as c
from consort.core.errors import ConsortError
from consort.data import load_task
from consort.lab import path
from consort.plan.build import Builder
from consort.plan.search.plan import read_search
from consort.runs.search.run import search
from consort.search.spaces.data_flow import DataFlow
from consort.search.spaces.layer_groups import LayerGroups

MODELS = ["lab:mirror", "lab:order"]
BLOCKS = {"free": [0, 1], "blocks": 2}
GROUPS = {"task_arithmetic": {"models": MODELS, "base": "lab:base", "weight": BLOCKS}}
FLOW = {"data_flow": {"models": MODELS, "most": 5}}
JUMPS = (0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.3, 0.5)


def plan(space, optimizer="random", **more):
    return {"search": {"optimizer": optimizer, "space": space, **more}}


def at(found, point):
    return Builder().build(found.node(found.expression(point)), "checkpoint")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one.keys())


@pytest.fixture(scope="module")
def opened():
    return tuple(map(c.load, MODELS))


def test_blocks_of_layers_weigh_as_layer_groups_do(opened):
    found = read_search(plan(GROUPS))
    assert found.space == "weights" and found.domain.dim == 2 * (2 + 1)
    by_model = (0.9, 0.1, 0.5, 0.2, 0.8, 0.6)
    by_group = [by_model[i] for group in found.domain.groups for i in group]
    assert by_group == [0.9, 0.2, 0.1, 0.8, 0.5, 0.6]
    groups = LayerGroups(opened, blocks=2, base=c.load("lab:base"))
    assert same(at(found, by_model), groups.checkpoint(by_group))


def test_the_starts_of_blocks_are_the_models(opened):
    space = {"linear": {"models": MODELS, "weight": {"free": [0, 1], "blocks": 4}}}
    found = read_search(plan(space))
    assert found.domain.dim == 2 * (4 + 1) and set(found.units) == {"mirror", "order"}
    for model, point in zip(opened, found.domain.starts, strict=True):
        assert same(at(found, point), model)


def test_a_parameter_of_all_models_has_one_coordinate_a_block():
    space = {"ties": {"models": MODELS, "base": "lab:base", "density": 0.5, "lambda": {"free": [0.5, 2], "blocks": 1}}}
    found = read_search(plan(space))
    assert [name.rpartition(".")[2] for name in found.domain.names] == ["lambda block 0", "lambda outside"]
    rules = found.expression((0.7, 1.5))["ties"]["lambda"]["by_name"]
    assert [rule["value"] for rule in rules] == [0.7] * 4 + [1.5] and rules[3]["match"] == "model.layers.3."


def test_a_path_is_a_plan_of_stacked_layers(opened):
    found = read_search(plan(FLOW))
    flow = DataFlow(opened, most=5)
    assert found.domain.names == flow.domain.names and found.experts == tuple(MODELS)
    assert found.domain.starts[0] == tuple(flow.domain.starts[0]) and len(found.domain.starts) == 2
    assert same(at(found, JUMPS), flow.checkpoint(JUMPS))
    assert found.domain.centre == found.domain.starts[0]
    for model, name in zip(opened, ("mirror", "order"), strict=True):
        assert same(at(found, found.units[name]), model)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"linear": {"models": MODELS, "weight": {"free": [0, 1], "blocks": 5}}}, "5 is no number of blocks"),
        ({"linear": {"models": MODELS, "weight": {"free": [0, 1], "blocks": 0}}}, "0 is no number of blocks"),
        ({"linear": {"models": MODELS, "weight": {"free": [0, 1], "blocks": True}}}, "True is no number"),
        ({"linear": {"models": MODELS, "weight": {"free": [0, 1], "block": 2}}}, "unknown key 'block'"),
        ({"average": {"models": MODELS, "weight": BLOCKS}}, "only merges"),
        ({"merge_adapters": {"models": MODELS, "weight": BLOCKS}}, "only merges"),
        ({"linear": {"models": ["lab:nobody"], "weight": BLOCKS}}, "nobody"),
        ({"linear": {"models": [{"upscale": {"model": "lab:mirror", "drop": 1}}], "weight": BLOCKS}}, "renumbers"),
        ({"data_flow": MODELS}, "named arguments"),
        ({"data_flow": {"models": []}}, "no models in the list"),
        ({"data_flow": {"models": MODELS, "repeats": 0}}, "outside"),
        ({"data_flow": {"models": MODELS, "most": 2}}, "2 layers are too few"),
        ({"data_flow": {"models": MODELS, "least": 2}}, "least"),
        ({"data_flow": {"models": ["lab:mirror", "lab:teacher-north"]}}, "vocabularies differ"),
        ({"data_flow": {"models": ["lab:mirror", {"average": {"models": MODELS}}]}}, "not a checkpoint"),
        ({"linear": {"models": MODELS, "weight": {"free": [0, 1], "blocks": 2}, "normalize": 3}}, "normalize"),
        ({"ties": {"models": MODELS, "base": "lab:base", "density": {"free": [0.5, 2]}}}, "2.0 is outside"),
        ({"data_flow": {"models": ["lab:mirror", "lab:nobody"]}}, "nobody"),
    ],
)
def test_layers_that_cannot_be_are_refused_by_name(space, says, tmp_path):
    with pytest.raises(ConsortError, match=says) as caught:
        search(plan(space), task="lab:tasks/skills", out=tmp_path / "run")
    assert caught.value.field and caught.value.hint and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_paths_have_no_base():
    with pytest.raises(ConsortError, match="combinations"):
        read_search(plan(FLOW, base="lab:base"))


@pytest.mark.parametrize("space", [GROUPS, FLOW], ids=["groups", "flow"])
def test_what_is_found_is_saved_and_compared_with_the_models(space, tmp_path):
    whole = load_task(path("tasks/skills"))
    task = replace(whole, dev=whole.dev[:12], test=whole.test[:12])
    found = search(plan(space, {"random": {"evaluations": 3}}), task=task, out=tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [r["model"] for r in results["test"]] == ["mirror", "order", "winner"]
    assert c.evaluate(c.model(tmp_path / "model"), task, split="dev").score == found.best.outcome.score
    assert same(c.load(tmp_path / "plan.yml"), c.load(tmp_path / "model"))
