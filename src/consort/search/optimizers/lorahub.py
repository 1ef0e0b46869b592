"""LoraHub (Huang et al. 2023, arXiv 2307.13269): coefficients of adapters found from few examples, without gradients.

The paper leaves the search to a library that picks one; here it is a (1+1) evolution strategy whose step grows after a
success and shrinks after a failure so that one try in five succeeds (Kern et al. 2004).
"""

from __future__ import annotations

import math
from typing import Annotated

import torch

from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps


@optimizer(paper="2307.13269")
class Lorahub(Generated):
    """`evaluations` tries from all coefficients 0, each a random step from the best so far.

    A score counts less `penalty` times the mean absolute coefficient; that steers the search, while the result is
    judged by the score itself. Coefficients stay within `bound` of 0 and, if it is hard, within the domain's box.
    `sigma` is the first step.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        evaluations: Annotated[int, Range(1, 1000000)] = 40,
        penalty: Annotated[float, Range(0, 1000)] = 0.05,
        bound: Annotated[float, Range(0, 1000)] = 1.5,
        sigma: Annotated[float, Range(1e-6, 1000)] = 0.5,
    ) -> None:
        self.domain, self.seed, self.evaluations = domain, seed, evaluations
        self.penalty, self.bound, self.sigma = penalty, bound, sigma

    def steps(self) -> Steps:
        generator = torch.Generator().manual_seed(self.seed)
        low = torch.full((self.domain.dim,), -self.bound, dtype=torch.float64)
        high = -low
        if self.domain.hard:
            low = low.maximum(torch.tensor(list(self.domain.low), dtype=torch.float64))
            high = high.minimum(torch.tensor(list(self.domain.high), dtype=torch.float64)).maximum(low)
        best, value, sigma = torch.zeros_like(low).clamp(low, high), -torch.inf, self.sigma
        for number in range(self.evaluations):
            step = torch.randn(len(low), dtype=torch.float64, generator=generator)
            point = best if number == 0 else (best + sigma * step).clamp(low, high)
            told = float((yield point[None])[0]) - self.penalty * float(point.abs().mean())
            if number:
                sigma *= math.exp(1 / 3) if told >= value else math.exp(-1 / 12)
            if told >= value:
                best, value = point, told
