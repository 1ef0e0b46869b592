"""CMA-ES: evolution whose steps learn the shape of the landscape (Hansen 2016, arXiv 1604.00772).

As in the tutorial, with negative weights for the worse half ("active"). What Model-GLUE (2410.05357) sets is default:
start in the middle of the box, sigma a sixth of it, 4 + 3 ln(dim) points, rounded, 200 evaluations. Of a point outside
a hard box the nearest one inside is scored, less a penalty for the way there (as Hansen et al. 2009, IEEE TEVC 13(1),
but with a weight from each generation alone): a model's best share is often exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps, box_to_unit, sum_to_one, unit_to_box

SMALLEST = 1e-8
"""The search is over when its longest axis, as a share of the box, is shorter."""


@optimizer(paper="1604.00772")
class Cma(Generated):
    """Covariance matrix adaptation: `population` points at a time around a moving mean, best half weighted most.

    `start`: the first mean (default: the domain's centre, the middle of the box where it has none); `sigma`: the first
    step, as a share of the box;
    `population`: 0 means 4 + 3 ln(dim), rounded; `evaluations`: at most so many. `normalise`: points are scored as
    weights that sum to 1 in each group of coordinates. Raises BadParameter.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        sigma: Annotated[float, Range(1e-6, 10)] = 0.1667,
        population: Annotated[int, Range(0, 100000)] = 0,
        evaluations: Annotated[int, Range(1, 10000000)] = 200,
        start: Sequence[float] | None = None,
        normalise: bool = False,
    ) -> None:
        self.domain, self.seed, self.sigma, self.population = domain, seed, sigma, population
        self.evaluations, self.start, self.normalise = evaluations, start, normalise
        if start is not None and len(start) != domain.dim:
            message = f"{len(start)} numbers are no point of {domain.dim} coordinates"
            raise BadParameter(message, field="start", hint=f"give {domain.dim}")

    def steps(self) -> Steps:
        domain, generator = self.domain, torch.Generator().manual_seed(self.seed)
        mean = torch.full((domain.dim,), 0.5, dtype=torch.float64)
        start = self.start if self.start is not None else domain.centre
        if len(start):
            mean = box_to_unit(domain, torch.tensor(list(start), dtype=torch.float64))
        if domain.hard:
            mean = mean.clamp(0, 1)
        state = State(mean, self.sigma, Constants.of(domain.dim, self.population or default_population(domain.dim)))
        done, lam = 0, state.constants.lam
        while (done == 0 or done + lam <= self.evaluations) and state.length > SMALLEST:
            drawn = state.draw(generator)
            inside = drawn.clamp(0, 1) if domain.hard else drawn
            points = unit_to_box(domain, inside)
            scores = yield sum_to_one(domain, points) if self.normalise else points
            state.update(drawn, scores - state.penalties(drawn - inside, scores))
            done += lam


def default_population(dim: int) -> int:
    """4 + 3 ln(dim), rounded."""
    return max(2, round(4 + 3 * math.log(max(1, dim))))


@dataclass(frozen=True, slots=True)
class Constants:
    """The strategy's numbers (table 1): `weights` of the ranked points, learning rates, damping."""

    lam: int
    weights: Float[Tensor, "lam"]
    mu_eff: float
    c_c: float
    c_sigma: float
    c_1: float
    c_mu: float
    d_sigma: float
    chi: float

    @classmethod
    def of(cls, n: int, lam: int) -> Constants:
        raw = [math.log((lam + 1) / 2) - math.log(i) for i in range(1, lam + 1)]  # eq. 49
        above, below = [w for w in raw if w > 0], [w for w in raw if w <= 0]
        mu_eff = sum(above) ** 2 / sum(w * w for w in above)
        mu_minus = sum(below) ** 2 / (sum(w * w for w in below) or 1)
        c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)  # eq. 57
        c_mu = min(1 - c_1, 2 * (1 / 4 + mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + mu_eff))  # eq. 58
        least = min(1 + c_1 / c_mu, 1 + 2 * mu_minus / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu))  # eq. 50 to 52
        scale = least / (sum(map(abs, below)) or 1)
        weights = [w / sum(above) if w > 0 else w * scale for w in raw]  # eq. 53
        c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        return cls(
            lam,
            torch.tensor(weights, dtype=torch.float64),
            mu_eff,
            (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n),
            c_sigma,
            c_1,
            c_mu,
            1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma,
            math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),
        )


class State:
    """Mean m, step size sigma, covariance C = B D^2 B^T and the two evolution paths, in the unit cube."""

    def __init__(self, mean: Float[Tensor, "dim"], sigma: float, constants: Constants) -> None:
        n = len(mean)
        self.mean, self.sigma, self.constants, self.generation = mean, sigma, constants, 0
        self.p_c, self.p_sigma = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        self.c, self.b = torch.eye(n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
        self.d = torch.ones(n, dtype=torch.float64)

    @property
    def length(self) -> float:
        """The longest axis of the search distribution."""
        return self.sigma * float(self.d.max())

    def draw(self, generator: torch.Generator) -> Float[Tensor, "lam dim"]:
        z = torch.randn(self.constants.lam, len(self.mean), dtype=torch.float64, generator=generator)
        return self.mean + self.sigma * (z * self.d) @ self.b.T

    def penalties(self, outside: Float[Tensor, "lam dim"], scores: Float[Tensor, "lam"]) -> Float[Tensor, "lam"]:
        """Squared ways back into the box, in units in which a typical step costs what typical scores differ by."""
        usable = scores[scores.isfinite()]
        spread = float(usable.quantile(0.75) - usable.quantile(0.25)) if len(usable) else 0.0
        step = self.sigma**2 * float(self.c.diagonal().mean())
        return outside.square().mean(1) * (max(spread, 1e-12) / max(step, 1e-30))

    def update(self, points: Float[Tensor, "lam dim"], scores: Float[Tensor, "lam"]) -> None:
        """One generation: eq. 41 to 47; of equal scores the earlier point ranks first."""
        k, n = self.constants, len(self.mean)
        order = sorted(range(k.lam), key=lambda i: -float(scores[i]))
        y = (points[order] - self.mean) / self.sigma
        above = k.weights.clamp(min=0)
        step = above @ y
        self.mean = self.mean + self.sigma * step
        white = self.b @ ((self.b.T @ step) / self.d)
        self.p_sigma = (1 - k.c_sigma) * self.p_sigma + math.sqrt(k.c_sigma * (2 - k.c_sigma) * k.mu_eff) * white
        self.generation += 1
        norm = float(self.p_sigma.norm())
        steady = norm / math.sqrt(1 - (1 - k.c_sigma) ** (2 * self.generation)) < (1.4 + 2 / (n + 1)) * k.chi
        self.p_c = (1 - k.c_c) * self.p_c + steady * math.sqrt(k.c_c * (2 - k.c_c) * k.mu_eff) * step
        lengths = ((y @ self.b) / self.d).square().sum(1).clamp(min=1e-12)
        signed = torch.where(k.weights >= 0, k.weights, k.weights * n / lengths)  # eq. 46
        stall = (1 - steady) * k.c_c * (2 - k.c_c)
        self.c = (1 + k.c_1 * stall - k.c_1 - k.c_mu * float(k.weights.sum())) * self.c
        self.c = self.c + k.c_1 * torch.outer(self.p_c, self.p_c) + k.c_mu * (y.T * signed) @ y  # eq. 47
        self.sigma *= math.exp(min(1.0, k.c_sigma / k.d_sigma * (norm / k.chi - 1)))
        self._decompose()

    def _decompose(self) -> None:
        self.c = (self.c + self.c.T) / 2
        squares, self.b = torch.linalg.eigh(self.c)
        self.d = squares.clamp(min=1e-20).sqrt()
