"""Routing by linear regression of every model's quality on the prompt's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import LARGE, difference_error, folds_of, out_of_fold, ridge, sampled
from consort.ensemble.routing.linear import balanced as balanced_weights
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel

ALPHAS = (1.0, 3.0, 10.0, 30.0)
CHECKED = 4000
"""Queries that the penalty is chosen on where there are too many for all."""


@strategy()
class Ridge(Router):
    """Expect of each model what ridge regression on the prompt's features says (`cost`, `lambda`: prices).

    `alpha` 0: the best of 1, 3, 10 and 30 by five-fold cross-validation. `balanced`: all groups weigh the same.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        alpha: Annotated[float, Range(0, 1000000)] = 0.0,
        balanced: bool = False,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.alpha, self.balanced = alpha, balanced

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        weight = balanced_weights(observed.groups) if self.balanced and observed.groups else None
        alpha = self.alpha or best_alpha(rows, observed, seed, weight)
        coefficients, intercept = ridge(rows, observed.quality, alpha, weight)
        return Learned(self.kind, {"weight": coefficients, "intercept": intercept}, {"alpha": alpha})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        return np.asarray(rows @ self.learned_arrays["weight"] + self.learned_arrays["intercept"])


def best_alpha(rows: Rows, observed: Observed, seed: int, weight: np.ndarray | None = None) -> float:
    """The penalty whose estimated differences between models are nearest out of fold; of equal ones the largest.

    Of more than 10,000 queries a sample decides: the best penalty hardly depends on how many there are.
    """
    if len(observed) > LARGE:
        part = sampled(len(observed), seed, CHECKED)
        rows, observed, weight = rows[part], observed.rows(part), None if weight is None else weight[part]
    fold = folds_of(len(observed), seed, observed.groups)
    scores = out_of_fold(rows, observed.quality, ALPHAS, fold, weight)
    return max(ALPHAS, key=lambda a: (-difference_error(scores[a], observed.quality, observed.groups), a))
