"""Stacks: silent layers change nothing, interleaving, and a fine-tune that heals."""

from __future__ import annotations

import pytest
import torch

import consort as c
from consort.core.errors import BadData, BadParameter
from consort.mixture.healing import HEALING, heal
from consort.models import load_model
from consort.plan.build import build
from consort.plan.expression import parse
from consort.train import Recipe
from consort.weights import Slice, Stack, ZeroOutput, interleave

IDS = [[1, 5, 7, 20, 33, 8]]
PAIRS = [("mirror a b c =", " c b a"), ("mirror d f =", " f d"), ("mirror k l m =", " m l k")]


@pytest.fixture(scope="module")
def base():
    return c.load("lab:base")


def doubled(base):
    return ZeroOutput(Stack([Slice(base, (0, 4)), Slice(base, (0, 4))]), layers=range(4, 8))


def test_silent_layers_add_nothing(base):
    wanted = load_model(base).open(1).feed(IDS)[0]
    torch.testing.assert_close(load_model(doubled(base)).open(1).feed(IDS)[0], wanted, atol=1e-5, rtol=0)


def test_a_plan_names_it(base):
    plan = {
        "zero_output": {"model": {"stack": {"slices": [{"model": "lab:base", "layers": [0, 4]}] * 2}}, "layers": [6]}
    }
    made = build(parse(plan), "checkpoint")
    zero = [name for name in made.keys() if ".6." in name and not made[name].any()]
    assert sorted(name.split(".")[-2] for name in zero) == ["down_proj", "o_proj"]
    assert c.to_plan(made)["zero_output"]["layers"] == [6]
    with pytest.raises(BadParameter, match="no layer 9"):
        ZeroOutput(base, layers=[9])


def test_a_silent_stack_of_another_model_starts_as_the_first(base):
    other = Slice(c.load("lab:mirror"), (0, 4))
    wanted = load_model(base).open(1).feed(IDS)[0]
    for ends, same in (("first", True), ("outer", False), ("mean", False)):
        made = ZeroOutput(Stack([Slice(base, (0, 4)), other], ends=ends), layers=range(4, 8))
        assert torch.allclose(load_model(made).open(1).feed(IDS)[0], wanted, atol=1e-5) is same


def test_layers_are_interleaved(base):
    three = [Stack([Slice(model, (0, 3))]) for model in (base, c.load("lab:mirror"))]
    found = interleave(models=three)
    assert [(three.index(part.model), part.layers) for part in found.slices] == [(0, (0, 1)), (1, (1, 2)), (0, (2, 3))]


def test_healing_learns_and_touches_only_what_it_may(base):
    start = doubled(base)
    recipe = Recipe(steps=12, lr=0.003)
    healed = heal(start, PAIRS, recipe=recipe, layers=range(4, 8), seed=1)
    scores = [load_model(model).score(PAIRS) for model in (start, healed)]
    assert sum(scores[1]) > sum(scores[0])
    assert torch.equal(healed["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])
    assert healed["model.layers.5.mlp.down_proj.weight"].any()
    assert (HEALING.lr, HEALING.schedule, HEALING.warmup) == (3e-5, "cosine", 0.1)


def test_wrong_inputs_are_named(base):
    with pytest.raises(BadData, match="learn"):
        heal(base, [])
    with pytest.raises(BadParameter, match="layers"):
        heal(base, PAIRS, layers=[9])
