"""DiWA (Ramé et al. 2022, arXiv 2205.09739): the ranked runs of one training, averaged while that does no harm.

Unlike a greedy soup it ends at the first model that does, so it takes fewer evaluations and only the best runs.
"""

from __future__ import annotations

from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizer
from consort.search.optimizers.generated import Generated, Steps, starts_of
from consort.search.optimizers.ranked import grown


@optimizer(paper="2205.09739")
class Diwa(Generated):
    """Rank the models, then add them to a plain average from best to worst until the score would fall.

    `kept` are the indices of the models that stayed. The domain's starts are the models. Raises BadParameter without.
    """

    def __init__(self, domain: Domain, *, seed: int = 0) -> None:
        self.domain, self.seed = domain, seed
        self.kept: list[int] = []
        self._starts = starts_of(domain, "diwa")

    def steps(self) -> Steps:
        yield from grown(self._starts, self.kept, stop_at_worse=True)
