"""Bayesian optimisation: a Gaussian process guesses the score everywhere, expected improvement picks the next point.

Merging checkpoints of one training by it: 2403.19390 (about 15 evaluations of lam in [alpha, 1]).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps, box_to_unit, unit_to_box
from consort.search.process import Process, fitted

CANDIDATES = 2048
NEAR = (0.3, 0.1, 0.03, 0.01, 0.003)
"""Distances from the best point at which candidates are added to those drawn everywhere."""
REFINED = (0.03, 0.01, 0.003, 0.001)
"""Distances from the best candidate at which better ones are looked for, one after the other."""


@optimizer(paper="2403.19390", example={"evaluations": 9, "initial": 4})
class Bayes(Generated):
    """`evaluations` points, after `initial` ones each where a Gaussian process expects the most improvement.

    The first are the domain's starts, then points that fill the box evenly. `kernel`: `matern` (5/2) or `rbf`;
    `lengths`: `each` coordinate has a length scale of its own, or all have `one`.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        evaluations: Annotated[int, Range(1, 10000)] = 15,
        initial: Annotated[int, Range(1, 10000)] = 4,
        kernel: Literal["matern", "rbf"] = "matern",
        lengths: Literal["each", "one"] = "each",
    ) -> None:
        self.domain, self.seed, self.lengths = domain, seed, lengths
        self.evaluations, self.initial, self.kernel = evaluations, initial, kernel

    def steps(self) -> Steps:
        generator = torch.Generator().manual_seed(self.seed)
        x = self._first()
        y = yield unit_to_box(self.domain, x)
        while len(x) < self.evaluations:
            process = fitted(x, _finite(y), self.kernel, each=self.lengths == "each")
            new = self._chosen(process, x[int(y.argmax())], generator)[None]
            told = yield unit_to_box(self.domain, new)
            x, y = torch.cat([x, new]), torch.cat([y, told])

    def _first(self) -> Float[Tensor, "start dim"]:
        """As many of the starts as lie in the box, then points of a Sobol sequence."""
        count, dim = min(self.initial, self.evaluations), self.domain.dim
        engine = torch.quasirandom.SobolEngine(dim, scramble=True, seed=self.seed)  # type: ignore[no-untyped-call]
        even = engine.draw(count, dtype=torch.float64)
        if not self.domain.starts:
            return even
        known = box_to_unit(self.domain, torch.tensor([list(s) for s in self.domain.starts], dtype=torch.float64))
        inside = known[((known >= 0) & (known <= 1)).all(1)]
        return torch.cat([inside, even])[: max(count, min(len(inside) + 1, self.evaluations))]

    def _chosen(
        self, process: Process, best: Float[Tensor, " dim"], generator: torch.Generator
    ) -> Float[Tensor, " dim"]:
        """The point of the most expected improvement: of many, then of those around it."""
        dim = self.domain.dim
        parts = [torch.rand(CANDIDATES, dim, dtype=torch.float64, generator=generator)]
        parts += [around(best, distance, CANDIDATES // 8, generator) for distance in NEAR]
        found = process.most_improved(torch.cat(parts))
        for distance in REFINED:
            near = around(found, distance, CANDIDATES // 8, generator)
            found = process.most_improved(torch.cat([found[None], near]))
        return found


def around(
    point: Float[Tensor, " dim"], distance: float, count: int, generator: torch.Generator
) -> Float[Tensor, "candidate dim"]:
    """Points of the unit cube about so far from `point`."""
    steps = torch.randn(count, len(point), dtype=torch.float64, generator=generator)
    return (point + distance * steps).clamp(0, 1)


def _finite(y: Float[Tensor, " seen"]) -> Float[Tensor, " seen"]:
    """A point that could not be made counts like the worst of the others."""
    usable = y[y.isfinite()]
    return torch.where(y.isfinite(), y, usable.min() if len(usable) else 0.0)
