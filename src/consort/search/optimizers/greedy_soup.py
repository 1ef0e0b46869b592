"""Greedy soup (Wortsman et al. 2022, arXiv 2203.05482, recipe 1): models join an average if it stays as good."""

from __future__ import annotations

from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps, starts_of
from consort.search.optimizers.ranked import grown


@optimizer(paper="2203.05482")
class GreedySoup(Generated):
    """Rank the models, then keep in the average each one, from best to worst, that does not lower the score.

    `kept` are the indices of the models that stayed. The domain's starts are the models. Raises BadParameter without.
    """

    def __init__(self, domain: Domain, *, seed: int = 0) -> None:
        self.domain, self.seed = domain, seed
        self.kept: list[int] = []
        self._starts = starts_of(domain, "greedy_soup")

    def steps(self) -> Steps:
        yield from grown(self._starts, self.kept, stop_at_worse=False)
