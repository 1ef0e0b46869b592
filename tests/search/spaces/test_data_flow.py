"""Paths through the layers of several models, their scales, and what becomes of them."""

from __future__ import annotations

import math

import pytest
import torch

import consort as c
from consort.core.errors import BadParameter
from consort.plan.build import build
from consort.plan.expression import parse
from consort.plan.objects import to_plan
from consort.search.optimizers.cma import Cma
from consort.search.spaces.data_flow import DataFlow
from consort.weights.checkpoint import Memory


@pytest.fixture(scope="module")
def flow():
    return DataFlow((c.load("lab:mirror"), c.load("lab:order")))


POINT = [0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.3, 0.5]
"""Layers 0, 1, 3 of the first model, 2 and 3 of the second; scales of a switch .3, of a jump .5."""


def test_the_start_is_the_first_model(flow):
    start, _ = flow.domain.starts
    assert flow.domain.centre == start
    model = flow.checkpoint(start)
    assert flow.path(start) == [(0, layer) for layer in range(4)]
    assert all(torch.equal(model[name], flow.models[0][name]) for name in model.keys())
    assert flow.domain.dim == 10 and flow.domain.names[:1] == ["mirror.0"]


def test_a_path_and_its_scales_by_hand(flow):
    assert flow.path(POINT) == [(0, 0), (0, 1), (0, 3), (1, 2), (1, 3)]
    assert flow.scales(POINT) == pytest.approx([1, 1, math.exp(0.5 / 4), math.exp(0.3 + 0.5 * -2 / 4), 1])


def test_scales_in_the_weights_are_scales_of_the_activations(flow):
    """The model as written equals the plain stack whose layers get their input multiplied."""
    exact = [Memory({k: m[k].float() for k in m.keys()}, m.config, name=m.name, files=m.files()) for m in flow.models]
    whole = DataFlow(tuple(exact))
    written, plain = c.model(whole.checkpoint(POINT)).module, c.model(whole.checkpoint([*POINT[:8], 0, 0])).module
    for layer, scale in zip(plain.model.layers, flow.scales(POINT), strict=True):
        layer.register_forward_pre_hook(lambda _, given, scale=scale: (given[0] * scale, *given[1:]))
    ids = torch.tensor([[1, 20, 30, 40, 3]])
    with torch.no_grad():
        a, b = written(input_ids=ids).logits, plain(input_ids=ids).logits
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_a_plan_gives_the_same_model(flow):
    model = flow.checkpoint(POINT)
    again = build(parse(to_plan(model)), "checkpoint")
    assert model.config["num_hidden_layers"] == 5
    assert all(torch.equal(model[name], again[name]) for name in model.keys())


def test_the_pool_can_be_repeated(flow):
    twice = DataFlow(flow.models, repeats=2, most=6)
    assert len(twice.pool) == 16
    point = [float(i in (0, 8)) for i in range(16)] + [0.0, 0.0]
    assert twice.path(point) == [(0, 0), (0, 0)]
    assert twice.checkpoint(point).config["num_hidden_layers"] == 2
    with pytest.raises(BadParameter, match="has 16 layers"):
        twice.path([1.0] * 16 + [0.0, 0.0])


def test_what_is_no_path_is_refused(flow):
    with pytest.raises(BadParameter, match="has 0 layers"):
        flow.path([0.0] * 10)
    with pytest.raises(BadParameter, match="no point of 10 coordinates"):
        flow.path([0.9])
    with pytest.raises(BadParameter, match="no layers"):
        DataFlow(())


def test_evolution_finds_a_wanted_path(flow):
    """The utility counts layers that are as wanted: those of the second model."""
    wanted = [(1, layer) for layer in range(4)]

    def score(point):
        try:
            return -len(set(flow.path(point.tolist())) ^ set(wanted))
        except BadParameter:
            return -math.inf

    optimizer, best = Cma(flow.domain, start=flow.domain.starts[0], evaluations=300, sigma=0.25), -math.inf
    while len(points := optimizer.ask()):
        scores = [score(point) for point in points]
        best = max(best, *scores)
        optimizer.tell(torch.tensor(scores, dtype=torch.float64))
    assert best == 0
