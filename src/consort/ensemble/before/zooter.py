"""Zooter: a router distilled from rewards (2311.08692).

Loss KL(p || f), p = softmax(r / T) of the models' rewards. The paper trains an encoder of 86M parameters; here the head
alone is trained, on frozen features (`encoder_training.py` trains one before).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.before.category import group_means, groups_of
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import softmax, softmax_regression
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel


@strategy(paper="2311.08692", example={"penalty": 0.1})
class Zooter(Router):
    """Take the model that the distilled reward distribution likes best (`cost`, `lambda`: less price).

    `beta`: how much a query's own reward counts beside the mean of its tag (group); without groups it is 1.
    `temperature`: of the softmax over rewards. `penalty`: of the squared coefficients.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        beta: Annotated[float, Range(0, 1)] = 0.3,
        temperature: Annotated[float, Range(0.001, 1000)] = 0.2,
        penalty: Annotated[float, Range(0, 1000000)] = 1.0,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.beta, self.temperature, self.penalty = beta, temperature, penalty

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        target = softmax(smoothed(observed, self.beta) / self.temperature)
        weight, intercept = softmax_regression(rows, target, self.penalty)
        return Learned(self.kind, {"weight": weight, "intercept": intercept})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        return softmax(rows @ self.learned_arrays["weight"] + self.learned_arrays["intercept"])


def smoothed(observed: Observed, beta: float) -> Float[np.ndarray, "query model"]:
    """Rewards mixed with the mean of their tag: beta r + (1 - beta) mean (section 3.3); plain without tags."""
    reward = np.where(np.isnan(observed.quality), observed.accuracy, observed.quality)
    names, index = groups_of(observed)
    if not names:
        return np.asarray(reward)
    return np.asarray(beta * reward + (1 - beta) * group_means(observed, index, len(names))[index])
