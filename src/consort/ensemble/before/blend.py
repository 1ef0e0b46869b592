"""The router to start with: groups where a prompt clearly belongs to one, else regression on words and shape.

Ours, of parts that each do well alone. A prompt of a group seen in fitting goes to that group's best model: within a
group, single queries say little about which model is right. A prompt between the groups is judged by ridge regression
on n-grams and on figures of its shape (length, digits, punctuation). "Clearly" is set as conformal prediction does
(Vovk 2005): the classifier's largest share is at least what nine of ten held-out fit queries reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.before.category import ALPHA as GROUP_ALPHA
from consort.ensemble.before.category import group_means, groups_of
from consort.ensemble.before.ridge import ALPHAS
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import balanced, difference_error, folds_of, out_of_fold, ridge
from consort.ensemble.routing.router import Router
from consort.ensemble.routing.shape import SCALE, Shape, with_shape
from consort.models.base import LanguageModel


@strategy()
class Blend(Router):
    """The group's best model where the group is clear, else what ridge regression on words and shape expects.

    `alpha` 0: of 1, 3, 10 and 30 by five-fold cross-validation. `clear`: the share of held-out queries that count as
    clearly of a group. Without groups, and where they do not predict differences between models better, it is the
    regression alone. `cost`, `lambda`: less lambda times the price.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        alpha: Annotated[float, Range(0, 1000000)] = 0.0,
        clear: Annotated[float, Range(0, 1)] = 0.9,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.alpha, self.clear = alpha, clear

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        shape = Shape.fitted(observed.queries)
        wide = with_shape(rows, shape.rows(observed.queries) * SCALE)
        fold = folds_of(len(observed), seed, observed.groups)
        alpha, single = self._single(wide, observed, fold)
        weight, intercept = ridge(wide, observed.quality, alpha)
        words = rows.shape[1]
        arrays = {"weight": weight[:words], "shape_weight": weight[words:], "intercept": intercept}
        arrays |= {"shape_mean": shape.mean, "shape_deviation": shape.deviation}
        names, index = groups_of(observed)
        if names:
            of_groups, at, grouped = self._groups(rows, observed, index, fold, single)
            if _error(grouped, observed) <= _error(single, observed):
                return Learned(self.kind, arrays | of_groups, {"alpha": alpha, "groups": names, "clear_at": at})
        return Learned(self.kind, arrays, {"alpha": alpha})

    def _single(self, wide: Rows, observed: Observed, fold: np.ndarray) -> tuple[float, Estimates]:
        """The penalty of the regression, and what it estimates out of fold."""
        tried = (self.alpha,) if self.alpha else ALPHAS
        found = out_of_fold(wide, observed.quality, tried, fold)
        alpha = max(tried, key=lambda a: (-_error(found[a], observed), a))
        return alpha, found[alpha]

    def _groups(
        self, rows: Rows, observed: Observed, index: np.ndarray, fold: np.ndarray, single: Estimates
    ) -> tuple[dict[str, np.ndarray], float, Estimates]:
        """The classifier of groups, from which share on a query is clear, and estimates out of fold with its help."""
        target, weight = np.eye(index.max() + 1)[index], balanced(observed.groups)
        unseen = shares(out_of_fold(rows, target, (GROUP_ALPHA,), fold, weight)[GROUP_ALPHA])
        coefficients, intercept = ridge(rows, target, GROUP_ALPHA, weight)
        means = group_means(observed, index, target.shape[1])
        at = float(np.quantile(unseen.max(1), 1 - self.clear))
        arrays = {"group_weight": coefficients, "group_intercept": intercept, "group_means": means}
        return arrays, at, where_clear(unseen, at, means, single)

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        arrays, values = self.learned_arrays, self.learned_values
        shape = Shape(arrays["shape_mean"], arrays["shape_deviation"]).rows(texts) * SCALE
        single = np.asarray(rows @ arrays["weight"] + shape @ arrays["shape_weight"] + arrays["intercept"])
        if "clear_at" not in values:
            return single
        share = shares(rows @ arrays["group_weight"] + arrays["group_intercept"])
        return where_clear(share, values["clear_at"], arrays["group_means"], single)


Estimates = Float[np.ndarray, "query model"]


def where_clear(
    share: Float[np.ndarray, "query group"], at: float, means: Float[np.ndarray, "group model"], single: Estimates
) -> Estimates:
    """The group's means where its share is at least `at`, else the estimates of single queries."""
    return np.where(share.max(1, keepdims=True) >= at, means[share.argmax(1)], single)


def _error(estimates: Estimates, observed: Observed) -> float:
    return difference_error(estimates, observed.quality, observed.groups)


def shares(scores: Float[np.ndarray, "query group"]) -> Float[np.ndarray, "query group"]:
    """Scores of groups as shares: what is below 0 counts as 0; all alike where nothing is above."""
    positive = np.clip(scores, 1e-9, None)
    return np.asarray(positive / positive.sum(1, keepdims=True))
