"""The router that is surely better than the best single model, or that model: chosen among routers by cross-fitting.

The candidates are fixed in advance, three variants of each router (see `ensemble/routing/choice.py`); one is taken if
its mean difference is above c standard errors, and is then fitted on everything. The expected loss against the best
single model is at most K g(c) se (`ensemble/routing/loss_bound.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.before import before, strategy
from consort.ensemble.learning.fitting import Learned, learned_of, with_learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.choice import Remembered, Rules, Variant, choose, outer, single_of, variants
from consort.ensemble.routing.features import Encoder, Features, Rows
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel

INNER = "inner."
BY_PRODUCTS = {"category", "knn", "ridge", "blend"}
"""Routers that see features through products of rows alone."""


@strategy(exempt={"learns_what_there_is_to_learn": "fewer than 150 queries are no test, and one model answers"})
class AutoRouter(Router):
    """The simplest of `candidates` that is better than the best single model by `c` standard errors, else that model.

    `candidates` are names of routers, the simplest first; each counts as three: as it is, its estimates shrunk by half
    towards the models' means, and only where it predicts a gain above 0.1. `folds` of cross-fitting, in `repeats`
    splits; fewer than 30 different queries a fold are no test. `cost`, `lambda`: quality less lambda times the price is
    what is compared. Raises BadParameter for a candidate that does not choose among any number of models.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        candidates: Sequence[str] = ("category", "knn", "ridge", "blend"),
        c: Annotated[float, Range(0, 10)] = 1.645,
        folds: Annotated[int, Range(2, 20)] = 5,
        repeats: Annotated[int, Range(1, 20)] = 3,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.candidates, self.c, self.folds, self.repeats = candidates, c, folds, repeats
        for name in candidates:
            if not any(p.name == "models" for p in before.entry(name).params) or name == self.kind:
                hint = "a router over any number of models: category, knn, ridge, blend"
                raise BadParameter(f"{name} cannot be a candidate", field="candidates", hint=hint)

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        encoder, rules = Remembered(observed.queries, rows, turned=self.by_products), self.rules(observed)
        choice = choose(observed, encoder, rules, seed)
        told = {
            "taken": choice.taken and choice.taken.label,
            "why": choice.why,
            "bound": choice.bound,
            "queries": len(observed),
            "candidates": [
                {"name": variant.label, "difference": mean, "error": error}
                for variant, mean, error in zip(rules.candidates, choice.means, choice.errors, strict=True)
            ],
        }
        values: dict[str, Any] = {"told": told, "accuracy": observed.accuracy.tolist()}
        if choice.taken is None:
            return Learned(self.kind, values=values)
        whole = Remembered(observed.queries, rows)
        inner = learned_of(self.fitted_candidate(choice.taken.router, observed, seed, whole), choice.taken.router)
        values["variant"] = [choice.taken.router, choice.taken.shrink, choice.taken.above]
        values["inner"] = dict(inner.values)
        return Learned(self.kind, {INNER + name: array for name, array in inner.arrays.items()}, values)

    @property
    def by_products(self) -> bool:
        """Whether all candidates see features through products of rows alone."""
        return set(self.candidates) <= BY_PRODUCTS

    def rules(self, observed: Observed) -> Rules:
        """What is fixed before any answer is looked at; a router that needs groups is none where there are none."""
        names = [name for name in self.candidates if name != "category" or any(observed.groups)]
        cost = None
        if self.cost is not None:
            cost = tuple(float(self.cost[m]) for m in self.order) if self.ordering is not None else tuple(self.cost)
        fit = self.fitted_candidate
        return Rules(variants(names), fit, self.c, self.folds, self.repeats, self.lambda_, cost)

    def fitted_candidate(self, name: str, observed: Observed, seed: int, encoder: Encoder) -> Router:
        """A candidate fitted on queries whose features are known."""
        fitted: Router = self.candidate(name, observed.models).fit(observed, seed=seed, encoder=encoder)
        return fitted

    def candidate(self, name: str, models: Sequence[str]) -> Router:
        """A candidate that is not fitted, over models that are only named."""
        kind = before.get(name)
        seen = {"features": self.features} if any(p.name == "features" for p in before.entry(name).params) else {}
        made: Router = kind([Named(model) for model in models], **seen)
        return made

    @property
    def in_use(self) -> list[int]:
        """Numbers of the members that may be chosen: one where no router was taken."""
        if "variant" in self.learned_values:
            return super().in_use
        worth = np.array(self.learned_values["accuracy"]) - self.lambda_ * self.prices[self.order]
        return [self.order[int(worth.argmax())]]

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        means = np.array(self.learned_values["accuracy"])
        if "variant" not in self.learned_values:
            return np.tile(means, (len(texts), 1))
        variant = Variant(*self.learned_values["variant"])
        arrays = {name[len(INNER) :]: a for name, a in self.learned_arrays.items() if name.startswith(INNER)}
        inner = self.candidate(variant.router, [str(m) for m in range(len(self.models))])
        inner = with_learned(inner, Learned(variant.router, arrays, self.learned_values["inner"]))
        estimates = inner.as_given(inner.estimate(rows, texts))
        return variant.scores(estimates, means, self.lambda_ * self.prices[self.order])

    def tested(self, observed: Observed, seed: int) -> Tested:
        """The router fitted on all of `observed`, and what its procedure does on queries that it has not seen."""
        observed = observed.named(self.labels).known()
        fitted = self.fit(observed, seed=seed)
        rows = self.seen.fitted(observed.queries).rows(observed.queries)
        encoder = Remembered(observed.queries, rows, turned=self.by_products)
        ours, singles = outer(observed, encoder, self.rules(observed), seed)
        told = dict(fitted.learned.values["told"])
        at = np.arange(len(observed))
        told["oracle"] = float(np.nanmean(np.nanmax(observed.quality, 1)))
        single = single_of(observed, self.rules(observed))
        kept = fitted if told["taken"] else None
        return Tested(kept, single, observed.quality[at, ours], observed.quality[at, singles], told)


@dataclass(frozen=True, slots=True)
class Tested:
    """A router that tests itself: `strategy` is None where it does not pass; qualities are of an outer cross-fit."""

    strategy: AutoRouter | None
    single: int
    quality: Float[np.ndarray, " n"]
    single_quality: Float[np.ndarray, " n"]
    told: dict[str, Any]


class Named:
    """The name of a model whose answers are known; it is never asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """Refused."""
        raise BadParameter("its answers are known and it is not asked", field=self.name)
