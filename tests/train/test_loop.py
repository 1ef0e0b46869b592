"""The training loop: its schedule, its exact resumption, its refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from consort.core.errors import BadCheckpoint, BadParameter
from consort.train import Recipe, fit


class Killed(Exception): ...


def regression(rng):
    x = torch.tensor([[rng.random()] for _ in range(4)])
    return x, 3 * x - 1


def squared(model, batch):
    x, y = batch
    return ((model(x) - y) ** 2).mean()


def line() -> nn.Linear:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(0.5)
        model.bias.fill_(0.0)
    return model


def test_the_cosine_schedule_by_hand():
    recipe = Recipe(steps=10, lr=2.0, warmup=0.2)
    assert [recipe.rate(t) for t in (0, 1, 2, 6)] == pytest.approx([1.0, 2.0, 2.0, 1.0])
    assert 0 < recipe.rate(9) < 0.2


def test_the_constant_schedule_only_warms_up():
    recipe = Recipe(steps=10, lr=2.0, schedule="constant")
    assert [recipe.rate(t) for t in (0, 5, 9)] == [2.0, 2.0, 2.0]


def test_one_step_of_sgd_by_hand():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    batch = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    fit(model, lambda _: batch, squared, Recipe(steps=1, lr=0.1, optimizer="sgd", clip=100), seed=0)
    assert model.weight.item() == pytest.approx(1 - 0.1 * 2 * (2 - 1) * 2)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_run_continues_to_the_same_bits(tmp_path, optimizer):
    recipe = Recipe(steps=30, lr=0.05, optimizer=optimizer)
    whole, killed, resumed = line(), line(), line()
    fit(whole, regression, squared, recipe, seed=7)
    state = tmp_path / "state.safetensors"

    def kill(step, loss):
        if step == 17:
            raise Killed

    with pytest.raises(Killed):
        fit(killed, regression, squared, recipe, seed=7, state=state, every=5, progress=kill)
    seen = []
    fit(resumed, regression, squared, recipe, seed=7, state=state, progress=lambda step, _: seen.append(step))
    assert seen[0] == 16
    assert torch.equal(resumed.weight, whole.weight)
    assert torch.equal(resumed.bias, whole.bias)


def test_it_learns_and_leaves_the_global_generator_alone():
    model = line()
    before = torch.random.get_rng_state()
    assert fit(model, regression, squared, Recipe(steps=300, lr=0.2), seed=0) < 1e-3
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_state_of_another_run_is_refused(tmp_path):
    state = tmp_path / "state.safetensors"
    recipe = Recipe(steps=2, lr=0.1)
    fit(line(), regression, squared, recipe, seed=0, state=state, every=1)
    with pytest.raises(BadCheckpoint, match="another run"):
        fit(line(), regression, squared, recipe, seed=1, state=state)


def test_a_damaged_state_is_refused_by_name(tmp_path):
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"\xff" * 40)
    with pytest.raises(BadCheckpoint, match=r"state\.safetensors"):
        fit(line(), regression, squared, Recipe(steps=2, lr=0.1), seed=0, state=state)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"lr": math.nan}, {"warmup": 1.0}, {"optimizer": "adam"}])
def test_a_recipe_out_of_range_is_refused(bad):
    with pytest.raises(BadParameter):
        Recipe(**{"steps": 1, "lr": 0.1, **bad})
