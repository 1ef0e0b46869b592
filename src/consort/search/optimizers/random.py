"""Random search: the baseline that every clever search must beat at equal budget."""

from __future__ import annotations

from typing import Annotated

import torch

from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps, sum_to_one, unit_to_box


@optimizer()
class Random(Generated):
    """`evaluations` points drawn evenly from the box, `batch` at a time.

    `normalise`: from the weights that are not negative and sum to 1 instead (in each group of coordinates).
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        evaluations: Annotated[int, Range(1, 1000000)] = 200,
        batch: Annotated[int, Range(1, 10000)] = 16,
        normalise: bool = False,
    ) -> None:
        self.domain, self.seed = domain, seed
        self.evaluations, self.batch, self.normalise = evaluations, batch, normalise

    def steps(self) -> Steps:
        generator = torch.Generator().manual_seed(self.seed)
        for start in range(0, self.evaluations, self.batch):
            count = min(self.batch, self.evaluations - start)
            drawn = torch.rand(count, self.domain.dim, dtype=torch.float64, generator=generator)
            if self.normalise:  # exponentials over their sum are even on the simplex
                yield sum_to_one(self.domain, -torch.log1p(-drawn))
            else:
                yield unit_to_box(self.domain, drawn)
