"""Coarse to fine: selective merging finds who belongs together, CMA-ES then tunes how much (Model-GLUE, 2410.05357)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.core.params import Range
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.cma import Cma
from consort.search.optimizers.generated import Generated, Steps
from consort.search.optimizers.heuristic import Heuristic


@optimizer(paper="2410.05357")
class CoarseToFine(Generated):
    """`heuristic` first, then `cma` around its result.

    `mode` and `similarities` are the heuristic's; `sigma`, `population`, `evaluations` and `normalise` those of CMA-ES,
    with a smaller first step, for the start is a good one.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int = 0,
        mode: Literal["coefficient", "average", "similarity", "dissimilarity"] = "coefficient",
        similarities: Sequence[float] | None = None,
        sigma: Annotated[float, Range(1e-6, 10)] = 0.1,
        population: Annotated[int, Range(0, 100000)] = 0,
        evaluations: Annotated[int, Range(1, 10000000)] = 200,
        normalise: bool = False,
    ) -> None:
        self.domain, self.seed, self.mode, self.similarities = domain, seed, mode, similarities
        self.sigma, self.population = sigma, population
        self.evaluations, self.normalise = evaluations, normalise
        self._coarse = Heuristic(domain, seed=seed, mode=mode, similarities=similarities)

    def steps(self) -> Steps:
        yield from self._coarse.steps()
        fine = Cma(
            self.domain,
            seed=self.seed,
            sigma=self.sigma,
            population=self.population,
            evaluations=self.evaluations,
            start=self._coarse.point.tolist(),
            normalise=self.normalise,
        )
        while len(points := fine.ask()):
            fine.tell((yield points))
