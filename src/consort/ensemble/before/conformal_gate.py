"""A gate with a guarantee: the weak model answers only where it fails rarely enough, with probability 1 - delta.

The score of a prompt is the estimated quality of the weak model (ridge regression). One half of the observed queries
teaches it; on the other, thresholds fixed by the first are tested from strict to lenient. Then
P(failure rate among what the weak model answers > alpha) <= delta for exchangeable queries. A quantile over failed
examples alone bounds another thing, P(weak | failure); both can be had, by their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData
from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.before.ridge import best_alpha
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.conformal import last_that_holds, refusing_failures
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import folds_of, out_of_fold, ridge
from consort.ensemble.routing.router import Router, held_against
from consort.models.base import LanguageModel

STEPS = 20
"""Thresholds that are tested."""
RIGHT = 0.5
"""An answer of at most this quality is a failure."""
NEVER = 2.0**20
"""A score that no prompt reaches."""


@strategy()
class ConformalGate(Router):
    """Ask `weak` where its answers fail at a rate of at most `alpha`, surely up to `delta`; else `strong`.

    `bounds`: `failures`, the rate among what the weak model answers; or `answered_failures`, the share of all its
    failures that it answers. An answer whose quality is 0.5 at most is a failure. Where no threshold passes the strong
    model answers everything, and `why` of what was learned says so. Raises BadData with under 20 known answers of
    `weak`.
    """

    def __init__(
        self,
        strong: LanguageModel,
        weak: LanguageModel,
        *,
        alpha: Annotated[float, Range(0, 1)] = 0.1,
        delta: Annotated[float, Range(0, 1)] = 0.05,
        bounds: Literal["failures", "answered_failures"] = "failures",
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__((strong, weak), features=features, state=state)
        self.strong, self.weak = strong, weak
        self.alpha, self.delta, self.bounds = alpha, delta, bounds

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        known = np.flatnonzero(~np.isnan(observed.quality[:, 1]))
        if len(known) < STEPS:
            raise BadData(f"{len(known)} known answers of {observed.models[1]} are too few", field="quality",
                          hint=f"give at least {STEPS}, better hundreds")  # fmt: skip
        half = _halves(observed.rows(known), seed)
        fit, check = known[half == 0], known[half == 1]
        penalty = best_alpha(rows[fit], observed.rows(fit), seed)
        weight, intercept = ridge(rows[fit], observed.quality[fit][:, 1:], penalty)
        scores = (rows[check] @ weight + intercept)[:, 0]
        failed = observed.quality[check, 1] <= RIGHT
        if self.bounds == "failures":
            fold = folds_of(len(fit), seed)
            unseen = out_of_fold(rows[fit], observed.quality[fit][:, 1:], (penalty,), fold)[penalty][:, 0]
            found, told = last_that_holds(
                scores, failed, thresholds_of(unseen, len(check), self.alpha, self.delta), self.alpha, self.delta
            )
        else:
            found, told = refusing_failures(scores, failed, self.alpha), []
        why = "holds" if found is not None else "no threshold passes: the strong model answers everything"
        values = {"threshold": NEVER if found is None else found, "why": why, "tested": [list(row) for row in told]}
        return Learned(self.kind, {"weight": weight, "intercept": intercept}, values)

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query 2"]:
        arrays = self.learned_arrays
        scores = np.asarray(rows @ arrays["weight"] + arrays["intercept"], float)[:, 0]
        just_below = float(np.nextafter(self.learned_values["threshold"], -np.inf))
        return held_against(-scores, -just_below)


def _halves(observed: Observed, seed: int) -> np.ndarray:
    """0 for what is learned from, 1 for what thresholds are tested on; equal prompts together."""
    texts = list(dict.fromkeys(observed.queries))
    half = dict(zip(texts, folds_of(len(texts), seed, folds=2).tolist(), strict=True))
    return np.array([half[text] for text in observed.queries])


def thresholds_of(unseen: Float[np.ndarray, " fit"], count: int, alpha: float, delta: float) -> list[float]:
    """Thresholds from strict to lenient, by scores that the fitted half has out of fold.

    The strictest lets through twice as many as are needed to pass without any failure, ln(delta) / ln(1 - alpha), of
    the `count` queries that it is tested on.
    """
    needed = 2 * ceil(log(max(delta, 1e-300)) / log(1 - min(max(alpha, 1e-12), 1 - 1e-12)))
    least = min(1.0, needed / max(1, count))
    return [float(np.quantile(unseen, 1 - share)) for share in np.linspace(least, 1.0, STEPS)]
