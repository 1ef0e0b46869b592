"""Item response theory: the formula, abilities that are known, one ability as one order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from consort.ensemble.before.irt import Irt, probability, standardised
from consort.testing.router_laws import models, observed


def test_number():
    found = probability(np.array([[1.0, 2.0]]), np.array([[0.5, -0.25]]), np.array([0.3]))
    assert found[0, 0] == pytest.approx(0.425557, abs=1e-6)


def test_abilities_have_mean_0_and_deviation_1():
    found = standardised(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 7 + 3)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(found.square().mean(0), 1, atol=1e-5)
    assert torch.equal(standardised(torch.ones(1, 3)), torch.zeros(1, 3))


def test_a_model_that_is_better_in_every_ability_is_never_expected_to_be_worse():
    """With demands of any sign it would be: softplus is what keeps them positive."""
    data = observed(3)
    router = Irt(models(3), epochs=5).fit(data)
    learned = router.learned
    learned.arrays["ability"][:] = [[1.0] * 8, [0.0] * 8, [-1.0] * 8]
    chance = router.predict(data.queries)[:, router.order]
    assert (np.diff(chance, axis=1) <= 0).all()
    demand = np.array([[-1.0, 0.5]])
    assert np.diff(probability(demand, np.array([[1.0, 1.0], [0.0, 0.0]]), np.zeros(1)))[0] > 0


def test_one_ability_is_one_order_of_models():
    data = observed(3)
    chance = Irt(models(3), abilities=1, epochs=20).fit(data).predict(data.queries)
    orders = {tuple(row) for row in np.argsort(-chance, axis=1)}
    assert len(orders) == 1
