"""Cases from the field that concern searches."""

from __future__ import annotations

import math
from statistics import median

import torch

from consort.search.engine.domain import Domain
from consort.search.optimizers.bayes import Bayes

BRANIN = Domain([-5.0, 0.0], [10.0, 15.0])
LEAST = 0.39788735772973816


def branin(a: float, b: float) -> float:
    """Three minima of .3979, in valleys that are longer in one direction than in the other."""
    bent = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def off(seed: int, **options) -> float:
    """How far the best of a search is above the minimum."""
    optimizer, best = Bayes(BRANIN, seed=seed, **options), math.inf
    while len(points := optimizer.ask()):
        values = [branin(*point) for point in points.tolist()]
        best = min(best, *values)
        optimizer.tell(-torch.tensor(values, dtype=torch.float64))
    return best - LEAST


def test_F10_a_length_for_each_coordinate_finds_the_minimum_of_branin():
    assert median(off(seed, evaluations=25) for seed in range(3)) <= 2.7e-3
