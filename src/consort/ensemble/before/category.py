"""Routing by kind of prompt: a classifier of groups (or tags), and the best model of each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData
from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import balanced, ridge
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel

ALPHA = 1.0


@strategy()
class Category(Router):
    """Tell a prompt's group, and take the model that is best there (`cost`, `lambda`: less lambda times its price).

    Groups are the `group` column of the task or table. The classifier is a ridge regression on group indicators, all
    groups counting the same. Raises BadData where the observed queries have no groups.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        names, index = groups_of(observed)
        if not len(names):
            raise BadData("the queries have no groups", field="group", hint="give each a group, or use knn or ridge")
        weight, intercept = ridge(rows, np.eye(len(names))[index], ALPHA, balanced(observed.groups))
        arrays = {"weight": weight, "intercept": intercept, "means": group_means(observed, index, len(names))}
        return Learned(self.kind, arrays, {"groups": names})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        arrays = self.learned_arrays
        return np.asarray(arrays["means"][(rows @ arrays["weight"] + arrays["intercept"]).argmax(1)])


def groups_of(observed: Observed) -> tuple[list[str], np.ndarray]:
    """The names of the groups, sorted, and the group of each query; no names where there are no groups."""
    if not any(observed.groups):
        return [], np.zeros(len(observed), int)
    names, index = np.unique(np.array(observed.groups), return_inverse=True)
    return [str(name) for name in names], index


def group_means(observed: Observed, index: np.ndarray, groups: int) -> Float[np.ndarray, "group model"]:
    """Mean known quality of every model in every group; the model's overall mean where none is known."""
    found = np.tile(observed.accuracy, (groups, 1))
    for g in range(groups):
        quality = observed.quality[index == g]
        known = ~np.isnan(quality)
        sums = np.where(known, quality, 0.0).sum(0)
        found[g] = np.where(known.any(0), sums / np.maximum(known.sum(0), 1), found[g])
    return found
