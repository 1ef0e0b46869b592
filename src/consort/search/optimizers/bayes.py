"""Bayesian optimisation: a Gaussian process guesses the score everywhere, expected improvement picks the next point.

Merging checkpoints of one training by it: 2403.19390 (about 15 evaluations of lam in [alpha, 1]). The kernel's length
and the noise are those of the highest marginal likelihood on a small grid, its variance is closed-form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.turns import Steps, Turns, box_to_unit, unit_to_box

LENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Of the kernel, in the unit cube, times the root of the number of coordinates."""
NOISES = (1e-6, 1e-4, 1e-2, 1e-1)
"""Variance of the noise, as a share of the kernel's."""
CANDIDATES = 2048
NEAR = (0.3, 0.1, 0.03, 0.01)
"""Distances from the best point at which candidates are added to those drawn everywhere."""

Kernel = Literal["matern", "rbf"]


@optimizer(paper="2403.19390")
class Bayes(Turns):
    """`evaluations` points, after `initial` ones each where a Gaussian process expects the most improvement.

    The first are the domain's starts, then points that fill the box evenly. `kernel`: `matern` (5/2) or `rbf`.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        evaluations: Annotated[int, Range(1, 10000)] = 15,
        initial: Annotated[int, Range(1, 10000)] = 4,
        kernel: Literal["matern", "rbf"] = "matern",
    ) -> None:
        self.domain, self.seed = domain, seed
        self.evaluations, self.initial, self.kernel = evaluations, initial, kernel

    def steps(self) -> Steps:
        generator = torch.Generator().manual_seed(self.seed)
        x = self._first()
        y = yield unit_to_box(self.domain, x)
        while len(x) < self.evaluations:
            process = fitted(x, _finite(y), self.kernel)
            candidates = self._candidates(x[int(y.argmax())], generator)
            new = candidates[int(process.improvement(candidates).argmax())][None]
            told = yield unit_to_box(self.domain, new)
            x, y = torch.cat([x, new]), torch.cat([y, told])

    def _first(self) -> Float[Tensor, "start dim"]:
        """As many of the starts as lie in the box, then points of a Sobol sequence."""
        count, dim = min(self.initial, self.evaluations), self.domain.dim
        even = torch.quasirandom.SobolEngine(dim, scramble=True, seed=self.seed).draw(count, dtype=torch.float64)
        if not self.domain.starts:
            return even
        known = box_to_unit(self.domain, torch.tensor([list(s) for s in self.domain.starts], dtype=torch.float64))
        inside = known[((known >= 0) & (known <= 1)).all(1)]
        return torch.cat([inside, even])[: max(count, min(len(inside) + 1, self.evaluations))]

    def _candidates(self, best: Float[Tensor, "dim"], generator: torch.Generator) -> Float[Tensor, "candidate dim"]:
        dim = self.domain.dim
        parts = [torch.rand(CANDIDATES, dim, dtype=torch.float64, generator=generator)]
        for distance in NEAR:
            steps = torch.randn(CANDIDATES // 8, dim, dtype=torch.float64, generator=generator)
            parts.append((best + distance * steps).clamp(0, 1))
        return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class Process:
    """A Gaussian process that has seen `x`; scores are standardised. `chol` is the Cholesky factor of K + noise."""

    x: Float[Tensor, "seen dim"]
    kernel: Kernel
    length: float
    variance: float
    chol: Float[Tensor, "seen seen"]
    solved: Float[Tensor, "seen"]
    best: float

    def at(self, points: Float[Tensor, "point dim"]) -> tuple[Float[Tensor, "point"], Float[Tensor, "point"]]:
        """Mean and standard deviation of the score without noise."""
        across = covariance(points, self.x, self.kernel, self.length)
        mean = across @ self.solved
        half = torch.linalg.solve_triangular(self.chol, across.T, upper=False)
        return mean, (self.variance * (1 - half.square().sum(0))).clamp(min=1e-18).sqrt()

    def improvement(self, points: Float[Tensor, "point dim"]) -> Float[Tensor, "point"]:
        """Expected improvement over the best score seen."""
        mean, spread = self.at(points)
        z = (mean - self.best) / spread
        density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        return (mean - self.best) * torch.special.ndtr(z) + spread * density


def covariance(
    a: Float[Tensor, "a dim"], b: Float[Tensor, "b dim"], kernel: Kernel, length: float
) -> Float[Tensor, "a b"]:
    """The kernel of unit variance between all pairs of points."""
    r = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / length
    if kernel == "rbf":
        return torch.exp(-r.square() / 2)
    s = math.sqrt(5) * r
    return (1 + s + s.square() / 3) * torch.exp(-s)


def fitted(x: Float[Tensor, "seen dim"], y: Float[Tensor, "seen"], kernel: Kernel) -> Process:
    """The process of the highest marginal likelihood among `LENGTHS` and `NOISES`; of equals the first."""
    spread = float(y.std(correction=0))
    scaled = (y - y.mean()) / (spread if spread > 0 else 1.0)
    root, found = math.sqrt(x.shape[1]), []
    for length in LENGTHS:
        base = covariance(x, x, kernel, length * root)
        for noise in NOISES:
            chol = torch.linalg.cholesky(base + noise * torch.eye(len(x), dtype=torch.float64))
            solved = torch.cholesky_solve(scaled[:, None], chol)[:, 0]
            variance = max(float(scaled @ solved) / len(x), 1e-12)
            likelihood = -len(x) / 2 * math.log(variance) - float(chol.diagonal().log().sum())
            found.append((likelihood, Process(x, kernel, length * root, variance, chol, solved, float(scaled.max()))))
    return max(found, key=lambda pair: pair[0])[1]


def _finite(y: Float[Tensor, "seen"]) -> Float[Tensor, "seen"]:
    """A point that could not be made counts like the worst of the others."""
    usable = y[y.isfinite()]
    return torch.where(y.isfinite(), y, usable.min() if len(usable) else 0.0)
