"""The baseline behind the never-worse gate: always the model that was best on the fit data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Rows
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel


@strategy(exempt={"learns_what_there_is_to_learn": "it is the baseline that sends all queries to one model"})
class BestSingle(Router):
    """Always the model of largest mean quality on the fit data, less `lambda` times its price (`cost`)."""

    needs_features = False

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, state=state)

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        return Learned(self.kind, values={"accuracy": observed.accuracy.tolist()})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        return np.tile(np.array(self.learned_values["accuracy"]), (len(texts), 1))
