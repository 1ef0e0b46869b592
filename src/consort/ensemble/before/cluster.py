"""Routing by cluster of prompts: the models are ranked in each (the routing of Avengers, 2505.19797).

The paper embeds prompts with a large encoder; here they are n-grams folded into 1024 dimensions, or MiniLM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.before.category import group_means
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import sketch
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel


@strategy(paper="2505.19797", example={"clusters": 4})
class Cluster(Router):
    """Find the nearest of `clusters` k-means centres, and take the model that was best there (`cost`, `lambda`)."""

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        clusters: Annotated[int, Range(1, 100000)] = 64,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.clusters = clusters

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        from sklearn.cluster import KMeans

        points = sketch(rows)
        count = min(self.clusters, len(np.unique(points, axis=0)))
        found = KMeans(count, n_init=2, random_state=seed, algorithm="lloyd").fit(points)
        means = group_means(observed, found.labels_, count)
        return Learned(self.kind, {"centres": found.cluster_centers_.astype(np.float32), "means": means})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        centres = self.learned_arrays["centres"]
        # |x - c|^2 without |x|^2, which is the same for all centres
        distance = (centres**2).sum(1) - 2 * sketch(rows) @ centres.T
        return np.asarray(self.learned_arrays["means"][distance.argmin(1)])
