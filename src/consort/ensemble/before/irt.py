"""Item response theory: prompts have demands and a difficulty, models have abilities (2506.01048).

P(m is right on x) = sigmoid(a(x) . theta_m - b(x)). Ours: a(x) = softplus(A e(x) + a_0) is never negative, so that a
model of greater ability everywhere is never expected to be worse; abilities have mean 0 and deviation 1 over the
models, which is what makes them known up to nothing. The paper's e(x) are embeddings of an encoder; here n-grams folded
into 1024 dimensions, or the features that are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import sigmoid, sketch
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel

LEAST_DEVIATION = 1e-6


@strategy(paper="2506.01048", example={"epochs": 40})
class Irt(Router):
    """Take the model most likely right by item response theory (`cost`, `lambda`: less lambda times its price).

    `abilities`: how many each model has; with one, all prompts agree on the order of models. Fitted by Adam at `rate`
    in `epochs` passes, batches of 64, weight decay `decay`; a quality between 0 and 1 is a share of right answers.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        abilities: Annotated[int, Range(1, 256)] = 8,
        epochs: Annotated[int, Range(1, 100000)] = 60,
        rate: Annotated[float, Range(0, 1)] = 0.01,
        decay: Annotated[float, Range(0, 10)] = 1e-3,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.abilities, self.epochs, self.rate, self.decay = abilities, epochs, rate, decay

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        import torch

        quality = torch.tensor(observed.quality, dtype=torch.float32)
        known, x = ~quality.isnan(), torch.tensor(sketch(rows))
        rng = torch.Generator().manual_seed(seed)
        size = {"demand": (x.shape[1], self.abilities), "difficulty": (x.shape[1], 1)}
        size["ability"] = (len(observed.models), self.abilities)
        start = {name: 0.3 * torch.randn(shape, generator=rng) for name, shape in size.items()}
        start |= {"demand_0": torch.zeros(self.abilities), "difficulty_0": torch.zeros(1)}
        found = {name: torch.nn.Parameter(value) for name, value in start.items()}
        adam = torch.optim.AdamW(found.values(), lr=self.rate, weight_decay=self.decay)
        for _ in range(self.epochs):
            for part in torch.split(torch.randperm(len(x), generator=rng), 64):
                logits = _logits(x[part], found)
                losses = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits, quality[part].nan_to_num().clamp(0, 1), reduction="none"
                )
                loss = losses[known[part]].sum() / known[part].sum().clamp(min=1)
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
        arrays = {name: value.detach().numpy() for name, value in found.items() if name != "ability"}
        return Learned(self.kind, {**arrays, "ability": standardised(found["ability"]).detach().numpy()})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        arrays, x = self.learned_arrays, sketch(rows)
        demand = np.logaddexp(0.0, x @ arrays["demand"] + arrays["demand_0"])
        return probability(demand, arrays["ability"], (x @ arrays["difficulty"] + arrays["difficulty_0"])[:, 0])


def probability(
    demand: Float[np.ndarray, "query ability"],
    ability: Float[np.ndarray, "model ability"],
    difficulty: Float[np.ndarray, " query"],
) -> Float[np.ndarray, "query model"]:
    """sigmoid(a . theta - b).

    >>> float(probability(np.array([[1.0, 2.0]]), np.array([[0.5, -0.25]]), np.array([0.3]))[0, 0].round(6))
    0.425557
    """
    return sigmoid(demand @ ability.T - difficulty[:, None])


def standardised(ability: Any) -> Any:
    """Mean 0 and deviation 1 over the models in every ability; of one model, 0."""
    apart = ability - ability.mean(0)
    return apart / apart.square().mean(0).sqrt().clamp(min=LEAST_DEVIATION)


def _logits(x: Any, parameters: Any) -> Any:
    import torch

    demand = torch.nn.functional.softplus(x @ parameters["demand"] + parameters["demand_0"])
    difficulty = x @ parameters["difficulty"] + parameters["difficulty_0"]
    return demand @ standardised(parameters["ability"]).T - difficulty
