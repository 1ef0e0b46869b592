"""Tryage: predict every expert's loss, weigh it with what else matters (2308.11601).

argmin over models of predicted loss + sum_j lambda_j C_j. The loss is 1 - quality, predicted by ridge regression (the
paper: a language model with one output for each expert).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.before.ridge import best_alpha
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import ridge
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel


@strategy(paper="2308.11601")
class Tryage(Router):
    """Take the model of least predicted loss plus `lambda` times its price plus `penalty_weight` times its penalty.

    `penalty`: one number for each model, for what the user would rather avoid (size, age, latency).
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        penalty: Sequence[float] | None = None,
        penalty_weight: Annotated[float, Range(0, 1000000000)] = 1.0,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.penalty, self.penalty_weight = penalty, penalty_weight
        if penalty is not None and len(penalty) != len(self.models):
            message = f"{counted(len(penalty), 'penalty', 'penalties')} for {counted(len(self.models), 'model')}"
            raise BadParameter(message, field="penalty", hint="one number for each model")

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        weight, intercept = ridge(rows, 1 - observed.quality, best_alpha(rows, observed, seed))
        return Learned(self.kind, {"weight": weight, "intercept": intercept})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        loss = rows @ self.learned_arrays["weight"] + self.learned_arrays["intercept"]
        penalty = np.zeros(len(self.models)) if self.penalty is None else np.array(self.penalty, dtype=float)
        return np.asarray(-loss - self.penalty_weight * penalty[self.order])
