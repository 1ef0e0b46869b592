"""RouteLLM's classifier: win, tie or lose of the strong model (2406.18665, section 4.2).

The paper fine-tunes BERT; here softmax regression on frozen features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import softmax, softmax_regression
from consort.ensemble.routing.router import Router, calibrated, held_against, threshold_in_use
from consort.models.base import LanguageModel


@strategy(paper="2406.18665")
class WinClassifier(Router):
    """Ask `strong` where 1 - P(tie) - P(weak wins) reaches the threshold.

    `threshold` (0 always asks the strong model, above 1 never),
    else the one that sends `share` of the queries to the strong model. `penalty`: of the coefficients.
    """

    def __init__(
        self,
        strong: LanguageModel,
        weak: LanguageModel,
        *,
        penalty: Annotated[float, Range(0, 1000000)] = 1.0,
        threshold: Annotated[float, Range(0, 2)] | None = None,
        share: Annotated[float, Range(0, 1)] = 0.5,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__((strong, weak), features=features, state=state)
        self.strong, self.weak, self.threshold, self.share = strong, weak, threshold, share
        self.penalty = penalty

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        return calibrated(self.kind, self.train, score, rows, observed, self.share, seed)

    def train(self, rows: Rows, observed: Observed) -> dict[str, np.ndarray]:
        """The weights of a classifier of win, tie and loss, on rows of features."""
        known = np.flatnonzero(~np.isnan(observed.quality).any(1))
        gain = observed.quality[known, 0] - observed.quality[known, 1]
        target = np.stack([gain > 0, gain == 0, gain < 0], axis=1).astype(float)
        weight, intercept = softmax_regression(rows[known], target, self.penalty)
        return {"weight": weight, "intercept": intercept}

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query 2"]:
        return held_against(score(self.learned_arrays, rows), threshold_in_use(self))


def score(arrays: Mapping[str, np.ndarray], rows: Rows) -> Float[np.ndarray, " query"]:
    """1 - (P(tie) + P(weak wins))."""
    return np.asarray(softmax(rows @ arrays["weight"] + arrays["intercept"])[:, 0])
