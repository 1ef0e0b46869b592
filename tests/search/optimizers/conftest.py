"""Running an optimizer against a function of the point."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


@pytest.fixture(scope="session")
def drive() -> Callable:
    """drive(optimizer, f, most=…): the points asked and their scores, until the search is over."""

    def run(optimizer, f, most=10**9):
        points, scores = [], []
        while len(points) < most and len(asked := optimizer.ask()):
            told = torch.tensor([float(f(point)) for point in asked], dtype=torch.float64)
            optimizer.tell(told)
            points += asked.tolist()
            scores += told.tolist()
        return points, scores

    return run


@pytest.fixture(scope="session")
def quadratic() -> Callable:
    """f(x) = -|x - t|^2 of a zoo of four models, a function of their coefficients: check 9.2 of Model-GLUE."""
    zoo = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 2, 2]], dtype=torch.float64)
    target = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return lambda c: -((c @ zoo - target) ** 2).sum()
