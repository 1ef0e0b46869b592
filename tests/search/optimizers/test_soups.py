"""Greedy soup, DiWA and the heuristics of Model-GLUE (checks 9.2, 9.3, 9.10)."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.search.engine.domain import Domain
from consort.search.optimizers.coarse_to_fine import CoarseToFine
from consort.search.optimizers.diwa import Diwa
from consort.search.optimizers.greedy_soup import GreedySoup
from consort.search.optimizers.heuristic import Heuristic


def zoo(n, **more):
    return Domain([0.0] * n, [1.0] * n, starts=torch.eye(n).tolist(), **more)


def test_coefficients_to_the_digit(drive, quadratic):
    optimizer = Heuristic(zoo(4))
    points, scores = drive(optimizer, quadratic)
    assert scores[:4] == pytest.approx([-0.38, -0.78, -0.98, -8.38])
    assert optimizer.accepted == [0, 1, 2]
    assert optimizer.point.tolist() == pytest.approx([0.48, 0.32, 0.20, 0.0], abs=1e-12)
    by_step = [max(scores[4 + 9 * i : 13 + 9 * i]) for i in range(3)]
    assert by_step == pytest.approx([-0.06, -0.0008, -0.085168], abs=1e-9)
    assert max(scores) == pytest.approx(-0.0008, abs=1e-12)
    assert points[scores.index(max(scores))] == pytest.approx(optimizer.point.tolist())  # what is saved is the best


def test_averages_to_the_digit(drive, quadratic):
    optimizer = Heuristic(zoo(4), mode="average")
    _, scores = drive(optimizer, quadratic)
    assert scores[4:] == pytest.approx([-0.08, -0.14 / 3, -0.5675], abs=1e-9)
    assert optimizer.point.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])


def test_one_model_is_merged_with_nothing(drive):
    optimizer = Heuristic(zoo(1))
    points, _ = drive(optimizer, lambda point: 0.3)
    assert points == [[1.0]] and optimizer.accepted == [0]


def test_two_copies_change_nothing(drive):
    optimizer = Heuristic(zoo(2))
    _, scores = drive(optimizer, lambda point: 0.4)
    assert scores == pytest.approx([0.4] * len(scores))
    assert float(optimizer.point.sum()) == pytest.approx(1.0)
    assert optimizer.point.tolist() == pytest.approx([0.9, 0.1])  # of equal scores the larger share


def test_the_most_similar_model_is_next(drive):
    alike = [1, 0.1, 0.9, 0.1, 1, 0.2, 0.9, 0.2, 1]
    order = {}
    for mode in ("similarity", "dissimilarity"):
        optimizer = Heuristic(zoo(3), mode=mode, similarities=alike)
        drive(optimizer, lambda point: float(point[0]) * 0 + 1.0)
        order[mode] = optimizer.accepted
    assert order == {"similarity": [0, 2, 1], "dissimilarity": [0, 1, 2]}


def test_similarities_of_every_pair_are_needed():
    with pytest.raises(BadParameter, match="every pair of 3 models"):
        Heuristic(zoo(3), mode="similarity", similarities=[1.0, 0.5])


def test_a_soup_takes_what_does_no_harm(drive):
    """Two good models, one that spoils every mixture, one that helps: the soup skips the third, DiWA stops at it."""
    value = {(0,): 0.5, (1,): 0.45, (2,): 0.4, (3,): 0.3, (0, 1): 0.6, (0, 1, 2): 0.2, (0, 1, 3): 0.7}
    asked = {Diwa: 0, GreedySoup: 0}
    for kind, kept in ((GreedySoup, [0, 1, 3]), (Diwa, [0, 1])):
        optimizer = kind(zoo(4))
        points, scores = drive(optimizer, lambda p: value[tuple(i for i in range(4) if p[i] > 0)])
        assert optimizer.kept == kept
        asked[kind] = len(points)
        assert max(scores) == value[tuple(kept)]
    assert asked == {GreedySoup: 7, Diwa: 6}


def test_equal_models_are_all_accepted(drive):
    optimizer = GreedySoup(zoo(3))
    points, _ = drive(optimizer, lambda point: 0.5)
    assert optimizer.kept == [0, 1, 2]
    assert points[-1] == pytest.approx([1 / 3] * 3)


def test_fine_search_starts_where_the_coarse_one_ended(drive, quadratic):
    points, scores = drive(CoarseToFine(zoo(4), seed=1, evaluations=160), quadratic)
    assert max(scores[:31]) == pytest.approx(-0.0008)
    assert max(scores) > -1e-4
    assert sum(abs(value) for value in points[31]) < 2
