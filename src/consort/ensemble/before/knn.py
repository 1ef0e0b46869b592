"""Routing by neighbours: how good each model was on the observed queries most alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.alike import cosines, nearest, transposed
from consort.ensemble.routing.features import Features, Rows, packed
from consort.ensemble.routing.linear import LARGE, folds_of, routed, sampled
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel

SIZES = (5, 10, 20, 40, 100, 200)
BLOCK = 256
CHECKED = 1000
"""Queries that the size is chosen on where there are too many for all."""


@strategy()
class Knn(Router):
    """Expect of each model its mean quality on the `k` observed queries of largest cosine (`cost`, `lambda`: prices).

    `k` 0: the best of 5, 10, 20, 40, 100 and 200 by five-fold cross-validation, every group counting the same. Of
    queries equally alike the first observed; unknown qualities are skipped.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        k: Annotated[int, Range(0, 1000000)] = 0,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.k = k

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        k = self.k or best_k(rows, observed, seed)
        arrays = {**packed(transposed(rows), "columns"), "quality": observed.quality}
        return Learned(self.kind, arrays, {"k": k, "accuracy": observed.accuracy.tolist()})

    @property
    def in_use(self) -> list[int]:
        """Numbers of the members that may be chosen.

        A member that was nowhere better than one before it in `order`, and is not cheaper, has no neighbours that would
        speak for it: sums of fewer points are never larger, and of equals the first is chosen.
        """
        order = self.order
        quality, dear = self.learned_arrays["quality"], self.lambda_ * self.prices[order]
        if np.isnan(quality).any():
            return super().in_use

        def outdone(m: int) -> bool:
            return any((quality[:, m] <= quality[:, j]).all() and dear[m] >= dear[j] for j in range(m))

        return sorted(order[m] for m in range(len(self.models)) if not outdone(m))

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        k, fallback = self.learned_values["k"], np.array(self.learned_values["accuracy"])
        means = means_of_nearest(rows, self.columns(), self.learned_arrays["quality"], k)
        return np.where(np.isnan(means), fallback, means)


def means_of_nearest(
    rows: Rows, columns: Rows, quality: Float[np.ndarray, "n model"], k: int
) -> Float[np.ndarray, "query model"]:
    """Mean known quality over the `k` observed queries nearest to each row; NaN where none is known."""
    alike, means = cosines(columns, rows.shape[0]), np.zeros((rows.shape[0], quality.shape[1]))
    for i in range(0, rows.shape[0], BLOCK):
        means[i : i + BLOCK] = neighbour_means(alike(rows[i : i + BLOCK]), quality, [k])[k]
    return means


def neighbour_means(
    alike: Float[np.ndarray, "query n"], quality: Float[np.ndarray, "n model"], sizes: Sequence[int]
) -> dict[int, Float[np.ndarray, "query model"]]:
    """Mean known quality over the nearest of each size (at most all); NaN where none is known."""
    most = min(max(sizes), alike.shape[1])
    near = np.array([nearest(row, most) for row in alike], int).reshape(len(alike), most)
    known = ~np.isnan(quality)
    sums, counts = np.where(known, quality, 0.0)[near].cumsum(1), known[near].cumsum(1)
    with np.errstate(invalid="ignore"):
        return {k: sums[:, min(k, most) - 1] / counts[:, min(k, most) - 1] for k in sizes}


def best_k(rows: Rows, observed: Observed, seed: int) -> int:
    """The size whose choices are best out of fold; of equal ones the smallest.

    Of more than 10,000 queries a sample is judged, by neighbours among all the others.
    """
    many = len(observed) > LARGE
    part = sampled(len(observed), seed, CHECKED)
    fold = np.full(len(observed), -1)
    fold[part] = 0 if many else folds_of(len(observed), seed, observed.groups)
    scores = {k: np.tile(observed.accuracy, (len(observed), 1)) for k in SIZES}
    for f in range(int(fold.max()) + 1):
        seen, unseen = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        if len(seen) and len(unseen):
            _estimate(scores, rows, observed.quality, seen, unseen)
    judged = observed.rows(part) if many else observed
    return max(SIZES, key=lambda k: (routed(scores[k][part], judged.quality, judged.groups), -k))


def _estimate(
    scores: dict[int, Float[np.ndarray, "n model"]],
    rows: Rows,
    quality: Float[np.ndarray, "n model"],
    seen: Int[np.ndarray, " seen"],
    unseen: Int[np.ndarray, " unseen"],
) -> None:
    """Enter what the neighbours among `seen` queries say of `unseen` ones, for each size."""
    alike = cosines(transposed(rows[seen]), len(unseen))
    for start in range(0, len(unseen), BLOCK):
        part = unseen[start : start + BLOCK]
        means = neighbour_means(alike(rows[part]), quality[seen], SIZES)
        for k in SIZES:
            scores[k][part] = np.where(np.isnan(means[k]), scores[k][part], means[k])
