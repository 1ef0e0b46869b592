"""Learned soup (check 9.11)."""

from __future__ import annotations

import pytest
import torch

import consort as c
from consort import lab
from consort.core.errors import BadParameter
from consort.merge.collect.run import at_work
from consort.merge.trained.passages import collated, encoded, forward, read_passages, surprise
from consort.merge.trained.weighing import Deltas, weighed
from consort.plan.objects import to_plan
from consort.search.spaces.learned_soup import Mixture, learned_soup, minimised
from consort.train.loop import Recipe


def test_the_gradient_finds_three_tenths():
    alpha = minimised(lambda a, _: (a[0, 0] - 0.3) ** 2, lambda rng: None, rows=1, models=2)
    assert alpha[0].tolist() == pytest.approx([0.3, 0.7], abs=0.005)


def test_weights_start_equal_and_sum_to_one():
    assert Mixture(2, 4).alpha().tolist() == [[0.25] * 4] * 2
    mixture = Mixture(1, 2, temperature=0.5)
    mixture.a.data[0, 0] = 1.0
    assert mixture.alpha()[0].tolist() == pytest.approx(torch.softmax(torch.tensor([2.0, 0.0]), 0).tolist())


def test_a_temperature_is_positive():
    with pytest.raises(BadParameter, match="no temperature"):
        minimised(lambda a, _: a.sum(), lambda rng: None, rows=1, models=2, temperature=0.0)


@pytest.mark.parametrize("grain", ["model", "layer"])
def test_the_model_that_knows_the_task_gets_more(grain):
    models = [c.load("lab:mirror"), c.load("lab:harmful")]
    live = at_work(models[0], None)
    lines = [line for line in read_passages(lab.path("tasks/skills") / "dev.jsonl") if line.task == "mirror"][:16]
    passages = encoded(lines, live)
    recipe = Recipe(steps=6, lr=0.3, schedule="constant", warmup=0.0)
    soup = learned_soup(live.module, models, passages, grain=grain, recipe=recipe, batch=8)
    amounts = torch.tensor(soup.amounts)
    torch.testing.assert_close(amounts.sum(1), torch.ones(len(soup.names)))
    assert float(amounts[:, 0].mean()) > 0.6
    assert len({row[0] for row in soup.amounts}) == (1 if grain == "model" else 5)
    assert "linear" in to_plan(soup.checkpoint)
    batch = collated(passages)
    deltas = Deltas(models, None)
    even = weighed(deltas, [torch.tensor([0.5, 0.5])] * len(deltas.names))
    tuned = weighed(deltas, list(amounts))
    with torch.no_grad():
        assert surprise(forward(live.module, tuned, batch), batch) < surprise(forward(live.module, even, batch), batch)
