"""An optimizer: points drawn ever nearer to the best so far."""

from __future__ import annotations

from typing import Annotated

import torch

from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps, unit_to_box


@optimizer()
class ClosingIn(Generated):
    """`rounds` rounds of `points` points around the best so far, each round half as far from it as the last."""

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        rounds: Annotated[int, Range(1, 100)] = 4,
        points: Annotated[int, Range(1, 1000)] = 4,
    ) -> None:
        self.domain, self.seed, self.rounds, self.points = domain, seed, rounds, points

    def steps(self) -> Steps:
        generator = torch.Generator().manual_seed(self.seed)
        best, top = torch.full((self.domain.dim,), 0.5, dtype=torch.float64), -torch.inf
        for round_ in range(self.rounds):
            noise = torch.rand(self.points, self.domain.dim, dtype=torch.float64, generator=generator) - 0.5
            asked = (best + noise / 2**round_).clamp(0, 1)
            scores = yield unit_to_box(self.domain, asked)
            if float(scores.max()) > top:
                top, best = float(scores.max()), asked[int(scores.argmax())]
