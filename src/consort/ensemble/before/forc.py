"""FORC: the best use of a budget, from predicted success and known prices (2308.06077).

The success of each model is predicted by ridge regression (the paper: a fine-tuned encoder). A batch is assigned by an
integer programme; online, where queries come one by one, the price of money found on the fit data takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int

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

SMALL = 2000
"""Most variables for which the integer programme is solved exactly."""


@strategy(paper="2308.06077")
class Forc(Router):
    """Take the model of largest predicted success less the price of money times its price, within a mean budget.

    `budget`: mean cost a query, in the unit of `cost` or of what was observed; 0: no bound. The price of money is the
    least at which the choices on the fit data keep to it. `lambda` is added to it.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        budget: Annotated[float, Range(0, 1000000000)] = 0.0,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.budget = budget

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        weight, intercept = ridge(rows, observed.quality, best_alpha(rows, observed, seed))
        prices = observed.prices() if self.cost is None else self.prices[self.order]
        value = rows @ weight + intercept
        money = price_of_money(value, np.tile(prices, (len(value), 1)), self.budget) if self.budget else 0.0
        return Learned(self.kind, {"weight": weight, "intercept": intercept}, {"money": money})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        arrays = self.learned_arrays
        return np.asarray(
            rows @ arrays["weight"] + arrays["intercept"] - self.learned_values["money"] * self.prices[self.order]
        )


Table = Float[np.ndarray, "query model"]


def price_of_money(value: Table, cost: Table, budget: float) -> float:
    """The least multiplier at which taking the best value less multiplier times cost costs at most `budget` a query.

    Raises BadParameter for a budget below what the cheapest models cost.
    """

    def spent(money: float) -> float:
        worth = value - money * cost
        best = worth >= worth.max(1, keepdims=True)  # of equally good ones the cheapest
        return float(np.where(best, cost, np.inf).min(1).mean())

    if cost.min(1).mean() > budget * (1 + 1e-9):
        hint = f"the cheapest model of every query costs {cost.min(1).mean():g}"
        raise BadParameter(f"{budget:g} a query buys no answer", field="budget", hint=hint)
    low, high = 0.0, 1.0
    if spent(low) <= budget:
        return low
    while spent(high) > budget and high < 1e18:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= budget else (middle, high)
    return high


def assign(value: Table, cost: Table, budget: float) -> Int[np.ndarray, " query"]:
    """The model of each query, -1 for none: largest summed value at a summed cost of at most `budget`.

    Exact (an integer programme) up to 2000 pairs of query and model; beyond, the linear relaxation with its at most
    one split query left out, and then given the best model that is still affordable.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, kron, vstack

    n, models = value.shape
    if n == 0:
        return np.zeros(0, int)
    one_each = kron(csr_matrix(np.eye(n)), np.ones((1, models)))
    limits = LinearConstraint(vstack([one_each, csr_matrix(cost.reshape(1, -1))]), ub=np.r_[np.ones(n), budget])
    whole = n * models <= SMALL
    found = milp(-value.ravel(), constraints=limits, bounds=Bounds(0, 1), integrality=np.full(value.size, int(whole)))
    taken = found.x.reshape(n, models)
    chosen = np.where(taken.max(1) > 1 - 1e-6, taken.argmax(1), -1)
    left = budget - cost[np.arange(n), chosen][chosen >= 0].sum()
    for i in np.flatnonzero((chosen < 0) & (taken.max(1) > 1e-6)):
        m = int(np.where(cost[i] <= left, value[i], -np.inf).argmax())
        if cost[i, m] <= left and value[i, m] > 0:
            chosen[i], left = m, left - cost[i, m]
    return np.asarray(chosen)
