"""Mixtures of adapters: the two forms by hand, packed rows against materialised models, racing on real answers."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import Incompatible
from consort.core.types import Sampling
from consort.data import load_task
from consort.lab import path
from consort.models import load_model
from consort.models.lean import Linear
from consort.plan.build import Builder
from consort.plan.search import read_search
from consort.recipes.spaces import open_space
from consort.search.evaluator import Evaluator, Job
from consort.search.packed import MixedLinear, Mixture
from consort.search.space import Adapters, Weights, check_alike
from consort.search.utility import task_utility
from consort.weights import Memory, open_adapter
from consort.weights.lora import Adapted

NAMES = ("mirror", "order", "shout")
POINTS = ((1.0, 0.0, 0.0), (0.6, 0.6, 0.6), (1.3, -0.5, 0.2))


def document(mode: str):
    models = [f"lab:lora-{name}" for name in NAMES]
    call = {"merge_adapters": {"models": models, "weight": {"free": [-1, 2]}, "mode": mode}}
    return {"search": {"optimizer": "pso", "space": call, "base": "lab:base"}}


@pytest.fixture(scope="module")
def spaces():
    found = {}
    for mode in ("exact", "factor"):
        plan = read_search(document(mode))
        found[mode] = (plan, open_space(plan, Builder()))
    return found


@pytest.mark.parametrize(("form", "expected"), [("factor", 12.0), ("exact", 13.0)])
def test_two_adapters_of_rank_one_by_hand(form, expected):
    mixture = Mixture(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    weight = torch.zeros(1, 1)
    plain = Linear(weight, weight.t(), None, 0)
    a, b = torch.tensor([[3.0], [5.0]]), torch.tensor([[2.0, 4.0]])
    linear = MixedLinear(plain, a, b, mixture, mixture.layout([0, 1]), 2 if form == "factor" else 0)
    mixture.at(torch.tensor([0, 1]))
    assert linear(torch.ones(2, 1)).flatten().tolist() == [expected, 6.0]
    assert linear.onto(torch.ones(2, 1), torch.ones(2, 1)).flatten().tolist() == [expected + 1, 7.0]


@pytest.mark.parametrize("mode", ["exact", "factor"])
def test_packed_rows_are_the_materialised_models(spaces, mode):
    plan, space = spaces[mode]
    base = Builder().build(plan.node("lab:base"), "checkpoint")
    wide = Memory({name: base[name].float() for name in base.keys()}, base.config, files=base.files())
    tokens = [[5, 6, 7, 8, 9], [4, 5, 6], [7, 9]]
    # the first coordinate is the base's
    packed = space.packed([(0.0, *point) for point in POINTS])
    for i, point in enumerate(POINTS):
        adapter = Builder().build(plan.node(plan.expression((0.0, *point))), "checkpoint")
        whole = load_model(Adapted(wide, adapter)).open(3).feed(tokens)
        alone = packed.of(i).open(3).feed(tokens)
        for row, other in zip(whole, alone, strict=True):
            torch.testing.assert_close(row, other, atol=1e-5, rtol=1e-4)
    together = packed.rows([0, 1, 2])
    prompts = ["mirror a b c =", "order d a b =", "shout a b ="]
    answers = [a.text for a in together.generate(prompts, Sampling(max_tokens=8))]
    assert answers == [packed.of(i).generate([prompts[i]], Sampling(max_tokens=8))[0].text for i in range(3)]


def test_packed_scores_are_those_of_filled_weights(spaces):
    plan, space = spaces["exact"]
    utility = task_utility([load_task(path("tasks/skills"))], limit=40)
    points = tuple((0.0, *point) for point in POINTS)
    together = Evaluator(space, utility)(Job(points))
    whole = Weights(
        plan.domain,
        "w",
        lambda p: Builder().build(
            plan.node({"apply_adapter": {"model": plan.expression(p), "base": "lab:base"}}), "checkpoint"
        ),
    )
    alone = [Evaluator(whole, utility)(Job((p,)))[0] for p in points]
    assert [o.score for o in together] == [o.score for o in alone]
    assert [o.marks for o in together] == [o.marks for o in alone]


def test_one_expert_alone_is_itself_in_both_forms(spaces):
    prompt, sampling = ["mirror a b c ="], Sampling(max_tokens=8)
    expected = load_model(Builder().build(read_search(document("exact")).node("lab:lora-mirror"), "checkpoint"))
    for _, space in spaces.values():
        assert (
            space.model((0.0, 1.0, 0.0, 0.0)).generate(prompt, sampling)[0].text
            == expected.generate(prompt, sampling)[0].text
        )


def test_a_base_that_cannot_be_packed_is_materialised(spaces):
    plan, space = spaces["exact"]
    base = Builder().build(plan.node("lab:base"), "checkpoint")
    live = load_model(base)
    live.module.register_forward_hook(lambda *given: None)
    adapters = [open_adapter(path(f"lora-{name}")) for name in NAMES]
    slow = Adapters(plan.domain, "k", live, adapters, under=base, fallback=space)
    assert slow.pack == 1 and slow.packed([POINTS[0]]) is None
    assert slow.model((0.0, *POINTS[0])).name == space.model((0.0, *POINTS[0])).name
    with pytest.raises(Incompatible, match="packed"):
        Adapters(plan.domain, "k", live, adapters, under=base)


def test_factors_of_unlike_adapters_are_refused_by_field():
    one, other = (open_adapter(path("lora-mirror")) for _ in range(2))
    other.config = {**one.config, "lora_alpha": 8}
    with pytest.raises(Incompatible, match="lora_alpha"):
        check_alike([one, other])
