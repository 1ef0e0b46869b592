"""Routing by how likely each model is right, from its record on benchmarks (2309.15789).

One classifier a model: logistic regression, or the share of right answers among neighbours. The paper's third score,
which discounts by how far a task is from all seen ones, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.before.knn import means_of_nearest
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.alike import transposed
from consort.ensemble.routing.features import Features, Rows, packed
from consort.ensemble.routing.linear import sigmoid, softmax_regression
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel

RIGHT = 0.5


@strategy(paper="2309.15789")
class Correctness(Router):
    """Take the model most likely right. `method`: logistic regression or `k` nearest neighbours (`cost`, `lambda`).

    An answer is right where its quality is above one half. `chance`: the probability itself, or whether it is above one
    half ("thresholded": of several such models the better one overall wins).
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        method: Literal["logistic", "knn"] = "logistic",
        chance: Literal["mean", "thresholded"] = "mean",
        k: Annotated[int, Range(1, 1000000)] = 40,
        penalty: Annotated[float, Range(0, 1000000)] = 1.0,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.method, self.chance, self.k, self.penalty = method, chance, k, penalty

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        right = np.where(np.isnan(observed.quality), np.nan, observed.quality > RIGHT)
        values = {"accuracy": np.nanmean(np.vstack([right, observed.accuracy]), 0).tolist()}
        if self.method == "knn":
            return Learned(self.kind, {**packed(transposed(rows), "columns"), "right": right}, values)
        weight = np.zeros((rows.shape[1], len(self.models)), np.float32)
        intercept = np.zeros(len(self.models), np.float32)
        for m in range(len(self.models)):
            known = np.flatnonzero(~np.isnan(right[:, m]))
            if len(known):
                targets = np.stack([1 - right[known, m], right[known, m]], axis=1)
                w, b = softmax_regression(rows[known], targets, self.penalty)
                weight[:, m], intercept[m] = w[:, 1] - w[:, 0], b[1] - b[0]
        return Learned(self.kind, {"weight": weight, "intercept": intercept}, values)

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        arrays, accuracy = self.learned_arrays, np.array(self.learned_values["accuracy"])
        if "right" in arrays:
            means = means_of_nearest(rows, self.columns(), arrays["right"], self.k)
            chance = np.where(np.isnan(means), accuracy, means)
        else:
            chance = sigmoid(rows @ arrays["weight"] + arrays["intercept"])
        return chance if self.chance == "mean" else (chance > RIGHT) + 1e-3 * accuracy
