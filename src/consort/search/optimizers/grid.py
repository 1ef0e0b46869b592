"""Grid search: every combination of evenly spaced values."""

from __future__ import annotations

from typing import Annotated

import torch

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps, unit_to_box

MOST = 1_000_000
"""Points of a grid."""
AT_ONCE = 64


@optimizer()
class Grid(Generated):
    """All combinations of `values` evenly spaced values of each coordinate, bounds included.

    One value is the middle of the box. The last coordinate changes fastest. Raises BadParameter for a grid of more
    than a million points.
    """

    def __init__(self, domain: Domain, *, seed: int = 0, values: Annotated[int, Range(1, 1000000)] = 5) -> None:
        self.domain, self.seed, self.values = domain, seed, values
        if values**domain.dim > MOST:
            message = f"{values} values of {domain.dim} coordinates are {values**domain.dim:.1e} points"
            raise BadParameter(message, field="values", hint=f"{MOST} at most; take random or cma instead")

    def steps(self) -> Steps:
        axis = torch.linspace(0, 1, self.values, dtype=torch.float64) if self.values > 1 else torch.full((1,), 0.5)
        total, dim = self.values**self.domain.dim, self.domain.dim
        for start in range(0, total, AT_ONCE):
            numbers = torch.arange(start, min(start + AT_ONCE, total))
            digits = [numbers // self.values ** (dim - 1 - place) % self.values for place in range(dim)]
            yield unit_to_box(self.domain, axis[torch.stack(digits, 1)].double())
