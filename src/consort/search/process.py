"""A Gaussian process over the unit cube: what scores are expected where none was seen, and how surely.

Each coordinate has its own length scale. Lengths and noise are those of the highest marginal likelihood, with a weak
prior on their logarithms that decides where few points say nothing; the variance is closed-form. The gradient is
followed from the best of a small grid of equal lengths and from there with one coordinate at a time flattened
(Rasmussen and Williams 2006, chapter 5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

LENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Of the grid, in the unit cube, times the root of the number of coordinates."""
NOISES = (1e-6, 1e-4, 1e-2, 1e-1)
"""Variance of the noise, as a share of the kernel's."""
SHORTEST, LONGEST = 0.01, 30.0
QUIETEST, LOUDEST = 1e-8, 1.0
USUAL, SPREAD = math.log(0.5), 1.5
"""Mean and deviation of the prior of a length's logarithm."""
FLATTER = 8.0
STARTS = 6
"""From so many places at most the gradient is followed."""
ROUNDS = 40

Kernel = Literal["matern", "rbf"]


@dataclass(frozen=True, slots=True)
class Process:
    """A Gaussian process that has seen `x`; scores are standardised. `chol` is the Cholesky factor of K + noise."""

    x: Float[Tensor, "seen dim"]
    kernel: Kernel
    lengths: Float[Tensor, " dim"]
    variance: float
    chol: Float[Tensor, "seen seen"]
    solved: Float[Tensor, " seen"]
    best: float

    def at(self, points: Float[Tensor, "point dim"]) -> tuple[Float[Tensor, " point"], Float[Tensor, " point"]]:
        """Mean and standard deviation of the score without noise."""
        across = covariance(points, self.x, self.kernel, self.lengths)
        mean = across @ self.solved
        half = torch.linalg.solve_triangular(self.chol, across.T, upper=False)
        return mean, (self.variance * (1 - half.square().sum(0))).clamp(min=1e-18).sqrt()

    def improvement(self, points: Float[Tensor, "point dim"]) -> Float[Tensor, " point"]:
        """Expected improvement over the best score seen."""
        mean, spread = self.at(points)
        z = (mean - self.best) / spread
        density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        expected: Tensor = (mean - self.best) * torch.special.ndtr(z) + spread * density
        return expected

    def most_improved(self, points: Float[Tensor, "point dim"]) -> Float[Tensor, " dim"]:
        """The point of the largest expected improvement; of equals the first."""
        found: Tensor = points[int(self.improvement(points).argmax())]
        return found


def covariance(
    a: Float[Tensor, "a dim"], b: Float[Tensor, "b dim"], kernel: Kernel, lengths: Float[Tensor, " dim"]
) -> Float[Tensor, "a b"]:
    """The kernel of unit variance between all pairs of points."""
    squares = (a[:, None] / lengths - b[None] / lengths).square().sum(-1)
    if kernel == "rbf":
        return torch.exp(-squares / 2)
    apart = squares > 0
    s = torch.sqrt(5 * torch.where(apart, squares, 1.0))  # the root has no gradient at 0
    return torch.where(apart, (1 + s + s.square() / 3) * torch.exp(-s), 1.0)


def fitted(x: Float[Tensor, "seen dim"], y: Float[Tensor, " seen"], kernel: Kernel, *, each: bool = True) -> Process:
    """The process of the highest marginal likelihood; without `each` of the grid alone, one length for all."""
    spread = float(y.std(correction=0))
    scaled = (y - y.mean()) / (spread if spread > 0 else 1.0)
    dim = x.shape[1]
    grid = [
        torch.tensor([math.log(length * math.sqrt(dim))] * dim + [math.log(noise)], dtype=torch.float64)
        for length, noise in product(LENGTHS, NOISES)
    ]
    chosen = _first_best(x, scaled, kernel, grid)
    if each and dim > 1:
        found = [_climbed(x, scaled, kernel, start) for start in _starts(chosen, dim)]
        chosen = _first_best(x, scaled, kernel, [chosen, *found])
    return _process(x, scaled, kernel, chosen)


def _starts(best: Float[Tensor, " hyper"], dim: int) -> list[Float[Tensor, " hyper"]]:
    """Where the climb begins: at the best of the grid, and with one coordinate after the other flatter."""
    found = [best]
    for coordinate in range(min(dim, STARTS - 1)):
        flatter = best.clone()
        flatter[coordinate] += math.log(FLATTER)
        found.append(flatter)
    return found


def _first_best(
    x: Float[Tensor, "seen dim"], y: Float[Tensor, " seen"], kernel: Kernel, among: list[Float[Tensor, " hyper"]]
) -> Float[Tensor, " hyper"]:
    return max(among, key=lambda hyper: float(_likelihood(x, y, kernel, hyper)))


def _climbed(
    x: Float[Tensor, "seen dim"], y: Float[Tensor, " seen"], kernel: Kernel, start: Float[Tensor, " hyper"]
) -> Float[Tensor, " hyper"]:
    """The hyperparameters at the top of the slope that `start` is on."""
    hyper = start.clone().requires_grad_(True)
    climber = torch.optim.LBFGS([hyper], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        climber.zero_grad()
        value: Tensor = -_likelihood(x, y, kernel, hyper)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        climber.step(loss)  # type: ignore[no-untyped-call]
    top = hyper.detach()
    return top if bool(top.isfinite().all()) else start


def _likelihood(
    x: Float[Tensor, "seen dim"], y: Float[Tensor, " seen"], kernel: Kernel, hyper: Float[Tensor, " hyper"]
) -> Float[Tensor, ""]:
    """The logarithm of the marginal likelihood, variance eliminated, and of the prior."""
    lengths, chol, solved = _solved(x, y, kernel, hyper)
    variance = (y @ solved / len(x)).clamp(min=1e-12)
    prior = ((lengths.log() - math.log(math.sqrt(x.shape[1])) - USUAL) / SPREAD).square().sum() / 2
    return -len(x) / 2 * variance.log() - chol.diagonal().log().sum() - prior


def _solved(
    x: Float[Tensor, "seen dim"], y: Float[Tensor, " seen"], kernel: Kernel, hyper: Float[Tensor, " hyper"]
) -> tuple[Float[Tensor, " dim"], Float[Tensor, "seen seen"], Float[Tensor, " seen"]]:
    """Lengths, the Cholesky factor of K + noise, and (K + noise)^-1 y."""
    lengths = hyper[:-1].exp().clamp(SHORTEST, LONGEST)
    noise = hyper[-1].exp().clamp(QUIETEST, LOUDEST)
    own = covariance(x, x, kernel, lengths) + noise * torch.eye(len(x), dtype=torch.float64)
    chol = torch.linalg.cholesky(own)
    return lengths, chol, torch.cholesky_solve(y[:, None], chol)[:, 0]


def _process(
    x: Float[Tensor, "seen dim"], y: Float[Tensor, " seen"], kernel: Kernel, hyper: Float[Tensor, " hyper"]
) -> Process:
    lengths, chol, solved = _solved(x, y, kernel, hyper)
    variance = max(float(y @ solved) / len(x), 1e-12)
    return Process(x, kernel, lengths, variance, chol, solved, float(y.max()))
