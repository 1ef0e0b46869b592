"""Grid, random, Bayesian optimisation (check 9.18), LoraHub."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.search.engine.domain import Domain
from consort.search.optimizers.bayes import Bayes
from consort.search.optimizers.grid import Grid
from consort.search.optimizers.lorahub import Lorahub
from consort.search.optimizers.random import Random
from consort.search.process import covariance, fitted


def test_a_grid_has_every_combination_once(drive):
    points, _ = drive(Grid(Domain([0, -1], [1, 1]), values=3), lambda point: 0.0)
    assert points == [[a, b] for a in (0, 0.5, 1) for b in (-1, 0, 1)]
    assert drive(Grid(Domain([0], [1]), values=1), lambda point: 0.0)[0] == [[0.5]]


def test_a_grid_too_large_is_refused():
    with pytest.raises(BadParameter, match="9 coordinates"):
        Grid(Domain([0.0] * 9, [1.0] * 9), values=5)


def test_random_weights_on_the_simplex_are_even(drive):
    points, _ = drive(Random(Domain([0.0] * 3, [1.0] * 3), evaluations=3000, normalise=True), lambda point: 0.0)
    drawn = torch.tensor(points)
    torch.testing.assert_close(drawn.sum(1), torch.ones(3000))
    torch.testing.assert_close(drawn.mean(0), torch.full((3,), 1 / 3), atol=0.02, rtol=0)
    assert float((drawn[:, 0] > 0.5).float().mean()) == pytest.approx(0.25, abs=0.03)  # a quarter of a triangle


@pytest.mark.parametrize("kernel", ["matern", "rbf"])
@pytest.mark.parametrize("seed", range(3))
def test_a_checkpoint_mix_in_fifteen_evaluations(kernel, seed, drive):
    optimizer = Bayes(Domain([0.5], [1.0]), seed=seed, kernel=kernel)
    points, scores = drive(optimizer, lambda lam: -((lam[0] - 0.83) ** 2))
    assert len(points) == 15
    assert points[scores.index(max(scores))][0] == pytest.approx(0.83, abs=0.02)


def test_known_points_are_asked_first(drive):
    domain = Domain([0.0] * 2, [1.0] * 2, starts=[[1, 0], [0, 1], [2, -1]])
    points, _ = drive(Bayes(domain, evaluations=6), lambda point: float(point[0]))
    assert points[:2] == [[1, 0], [0, 1]] and [2, -1] not in points


def test_the_process_goes_through_what_it_has_seen():
    x = torch.tensor([[0.0], [0.4], [1.0]], dtype=torch.float64)
    process = fitted(x, torch.tensor([0.0, 1.0, 0.2], dtype=torch.float64), "rbf")
    mean, spread = process.at(x)
    assert mean[1] > mean[2] > mean[0]
    assert float(spread.max()) < float(process.at(torch.tensor([[0.7]], dtype=torch.float64))[1])
    assert float(covariance(x, x, "matern", torch.tensor([0.3])).diagonal().min()) == 1.0


def test_a_coordinate_that_plays_no_part_has_the_longer_length():
    x = torch.rand(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    process = fitted(x, torch.sin(9 * x[:, 0]), "rbf")
    assert float(process.lengths[1]) > 3 * float(process.lengths[0])
    one = fitted(x, torch.sin(9 * x[:, 0]), "rbf", each=False)
    assert float(one.lengths[0]) == float(one.lengths[1])


def test_lorahub_stays_in_its_bounds_and_improves(drive):
    domain = Domain([-9.0] * 4, [9.0] * 4)
    points, scores = drive(Lorahub(domain, seed=3), lambda c: -float(((c - 0.8) ** 2).sum()))
    assert len(points) == 40 and points[0] == [0.0] * 4
    assert max(abs(value) for point in points for value in point) <= 1.5
    assert max(scores) > scores[0] / 2


def test_a_penalty_keeps_coefficients_small(drive):
    found = {}
    for penalty in (0.0, 10.0):
        optimizer = Lorahub(Domain([-2.0] * 2, [2.0] * 2), penalty=penalty, evaluations=60)
        points, scores = drive(optimizer, lambda c: float(c.sum()))
        found[penalty] = sum(abs(v) for v in points[-1])
    assert found[10.0] < found[0.0]
