"""CMA-ES: convergence, the box, weights that sum to one (check 9.4)."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from consort.core.errors import BadParameter
from consort.search.engine.domain import Domain
from consort.search.optimizers.cma import Cma, Constants, default_population


def rosenbrock(x):
    return -sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


@pytest.mark.parametrize("seed", range(3))
def test_a_normalised_weight_is_found(seed, drive):
    points, scores = drive(
        Cma(Domain([0, 0], [1, 1]), seed=seed, evaluations=60), lambda w: -((w[0] / w.sum().clamp(min=1e-9) - 0.7) ** 2)
    )
    best = points[scores.index(max(scores))]
    assert len(points) <= 60
    assert best[0] / sum(best) == pytest.approx(0.7, abs=0.01)


def test_points_can_be_asked_normalised_by_group(drive):
    domain = Domain([0.0] * 4, [1.0] * 4, groups=[(0, 2), (1, 3)])
    points, scores = drive(Cma(domain, evaluations=120, normalise=True), lambda w: -abs(w[0] - 0.7) - abs(w[1] - 0.2))
    for a, b, c, d in points:
        assert (a + c, b + d) == (pytest.approx(1.0), pytest.approx(1.0))
    assert max(scores) > -0.05


def test_it_learns_a_bent_valley(drive):
    _, scores = drive(Cma(Domain([-2.0] * 5, [2.0] * 5), evaluations=4000), rosenbrock)
    assert max(scores) > -1e-10
    assert len(scores) < 4000  # it ends when its steps have become tiny


def test_an_optimum_on_the_edge_is_reached(drive):
    points, scores = drive(Cma(Domain([0.0] * 3, [1.0] * 3), evaluations=300), lambda x: -float(x.sum()))
    assert max(scores) > -1e-3
    assert min(min(point) for point in points) >= 0


def test_a_soft_box_is_left_where_it_pays(drive):
    _, scores = drive(Cma(Domain([0.0], [1.0], hard=False), evaluations=150), lambda x: -abs(float(x[0]) - 1.5))
    assert max(scores) > -1e-3


def test_constants_of_the_tutorial():
    assert [default_population(dim) for dim in (1, 2, 10, 40)] == [4, 6, 11, 15]
    k = Constants.of(10, 10)
    assert float(k.weights.clamp(min=0).sum()) == pytest.approx(1.0)
    assert k.mu_eff == pytest.approx(3.167, abs=1e-3)
    assert k.c_sigma == pytest.approx((k.mu_eff + 2) / (10 + k.mu_eff + 5))
    assert k.chi == pytest.approx(math.sqrt(10) * (1 - 1 / 40 + 1 / 2100))


def test_a_start_of_another_space_is_refused():
    with pytest.raises(BadParameter, match="no point of 2 coordinates"):
        Cma(Domain([0, 0], [1, 1]), start=[0.5])


@pytest.mark.skipif(importlib.util.find_spec("cma") is None, reason="the peer `cma` is not installed")
def test_as_good_as_the_peer(drive):
    import cma

    ours = []
    for seed in range(3):
        _, scores = drive(Cma(Domain([-2.0] * 5, [2.0] * 5), seed=seed, evaluations=3000), rosenbrock)
        ours.append(next(i for i, s in enumerate(scores) if s > -1e-8))
    theirs = []
    for seed in range(1, 4):
        options = {"seed": seed, "verbose": -9, "bounds": [-2, 2], "ftarget": 1e-8, "popsize": default_population(5)}
        theirs.append(
            cma.fmin2(lambda x: -rosenbrock(torch.tensor(x)).item(), [0.0] * 5, 4 / 6, options)[1].result.evaluations
        )
    assert sorted(ours)[1] <= 1.5 * sorted(theirs)[1]
