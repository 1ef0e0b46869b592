"""Mixtures of adapters: the two forms by hand, packed rows against materialised models, racing on real answers."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import Incompatible
from consort.core.types import Sampling
from consort.data import load_task
from consort.lab import path
from consort.models import load_model
from consort.models.hf.lean_pass import Linear
from consort.plan.build import Builder
from consort.plan.search.plan import read_search
from consort.runs.search.spaces import open_space
from consort.search.engine.evaluator import Evaluator, Job
from consort.search.engine.space import Packed, Refilled, check_alike
from consort.search.packed import lora as packed_module
from consort.search.packed.linear import MixedLinear, Mixture
from consort.search.utilities.task import task_objective
from consort.weights import Memory, open_adapter
from consort.weights.adapters.lora import Adapted

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


@pytest.mark.parametrize("filled", [(), (0, 1)])
@pytest.mark.parametrize("bias", [0.0, 2.0])
@pytest.mark.parametrize(("form", "expected"), [("factor", 12.0), ("exact", 13.0)])
def test_two_adapters_of_rank_one_by_hand(form, expected, bias, filled):
    mixture = Mixture(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    weight = torch.zeros(1, 1)
    plain = Linear(weight, weight.t(), torch.tensor([bias]) if bias else None)
    a, b = torch.tensor([[3.0], [5.0]]), torch.tensor([[2.0, 4.0]])
    linear = MixedLinear(plain, a, b, mixture, mixture.layout([0, 1]), 2 if form == "factor" else 0)
    linear.fill(filled)
    mixture.filled = frozenset(filled)
    mixture.at([0, 0, 1, 0], [30, 0, 30, 30])
    assert (mixture.passes[90].shares is None) == bool(filled)
    assert mixture.passes[3].shares is not None  # one token each is too few for matrices
    wanted = torch.tensor([expected] * 30 + [6.0] * 30 + [expected] * 30) + bias
    assert linear(torch.ones(90, 1)).flatten().tolist() == wanted.tolist()
    assert linear(torch.ones(3, 1)).flatten().tolist() == wanted[::30].tolist()
    assert linear.onto(torch.ones(90, 1), torch.ones(90, 1)).flatten().tolist() == (wanted + 1).tolist()


@pytest.mark.parametrize("mode", ["exact", "factor"])
@pytest.mark.parametrize("filled", [False, True])
def test_packed_rows_are_the_materialised_models(spaces, mode, filled):
    plan, space = spaces[mode]
    base = Builder().build(plan.node("lab:base"), "checkpoint")
    wide = Memory({name: base[name].float() for name in base.keys()}, base.config, files=base.files())
    tokens = [[5, 6, 7, 8, 9], [4, 5, 6], [7, 9]]
    # the first coordinate is the base's
    packed = space.packed([(0.0, *point) for point in POINTS])
    packed.prepare(range(3), 10**6 if filled else 0)
    assert len(packed.mixture.filled) == 3 * filled
    session = packed_module.Mixed(packed, [0, 1, 2] * 3).open()
    session.portion = 7
    together = session.feed([row for row in tokens for _ in POINTS])
    rest = session.select([1, 5, 6]).feed([[3], [4, 5], []])
    for i, point in enumerate(POINTS):
        adapter = Builder().build(plan.node(plan.expression((0.0, *point))), "checkpoint")
        whole = load_model(Adapted(wide, adapter)).open(3)
        for row, other in zip(whole.feed(tokens), together[i::3], strict=True):
            torch.testing.assert_close(row, other, atol=1e-5, rtol=1e-4)
        if i:  # rows 1 and 5 are the first of particle 1 and the second of particle 2
            (wanted,) = whole.select([i - 1]).feed([[3] if i == 1 else [4, 5]])
            torch.testing.assert_close(wanted, rest[i - 1], atol=1e-5, rtol=1e-4)
    assert len(rest[2]) == 0


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=9), Sampling(max_tokens=5, temperature=0.7, seed=3)])
@pytest.mark.parametrize("mode", ["exact", "factor"])
def test_a_pack_answers_as_its_particles_one_by_one(spaces, mode, sampling, monkeypatch):
    _, space = spaces[mode]
    prompts = [example.prompt for example in load_task(path("tasks/skills")).dev[:20]]
    prompts += prompts[:2]  # a repetition draws numbers of its own, whoever answers beside it
    packed = space.packed([(0.0, *point) for point in POINTS])
    alone = [[a.tokens for a in packed.of(i).generate(prompts, sampling)] for i in range(3)]
    asked = [(i, prompt) for prompt in prompts for i in range(3)]
    for own_bytes, cache_bytes in ((2**28, 2**28), (0, 2**28), (2**28, 0)):
        monkeypatch.setattr(packed_module, "OWN_BYTES", own_bytes)
        monkeypatch.setattr(packed_module, "CACHE_BYTES", cache_bytes)
        packed = space.packed([(0.0, *point) for point in POINTS])
        answers = packed.rows([i for i, _ in asked]).generate([prompt for _, prompt in asked], sampling)
        assert bool(packed.mixture.filled) == bool(own_bytes)
        assert [[a.tokens for a in answers[i::3]] for i in range(3)] == alone


def test_matrices_are_filled_where_they_are_small_and_worth_it(spaces):
    _, space = spaces["exact"]
    packed = space.packed([(0.0, *point) for point in POINTS])
    packed.prepare([0, 1], 2 * 128 - 1)
    assert packed.mixture.filled == frozenset()
    packed.prepare([0, 1], 2 * 128)
    assert packed.mixture.filled == {0, 1}
    packed.prepare([1, 2, 0], 128)  # those that are there are kept
    assert packed.mixture.filled == {0, 1, 2}
    space.packed([(0.0, *POINTS[1])])
    assert packed.mixture.filled == frozenset()  # other points, other matrices


def test_packed_scores_are_those_of_filled_weights(spaces):
    plan, space = spaces["exact"]
    utility = task_objective([load_task(path("tasks/skills"))], limit=40)
    points = tuple((0.0, *point) for point in POINTS)
    together = Evaluator(space, utility)(Job(points))
    whole = Refilled(
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
    slow = Packed(plan.domain, "k", live, adapters, under=base, fallback=space)
    assert slow.pack == 1 and slow.packed([POINTS[0]]) is None
    assert slow.model((0.0, *POINTS[0])).name == space.model((0.0, *POINTS[0])).name
    with pytest.raises(Incompatible, match="packed"):
        Packed(plan.domain, "k", live, adapters, under=base)


def test_factors_of_unlike_adapters_are_refused_by_field():
    one, other = (open_adapter(path("lora-mirror")) for _ in range(2))
    other.config = {**one.config, "lora_alpha": 8}
    with pytest.raises(Incompatible, match="lora_alpha"):
        check_alike([one, other])
