"""Choosing among routers by cross-fitting: which of candidates fixed in advance is surely better than the best single.

Per fold every candidate is fitted on the other folds (its own tuning inside), and so is the best single model; both
are judged on the fold. The simplest candidate within one standard error of the best is taken if its mean difference to
the best single is more than c standard errors, else the best single. Shrinking happens by candidates, since a blend
made after the test would be untested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Encoder, Rows
from consort.ensemble.routing.linear import DUAL, folds_of
from consort.ensemble.routing.loss_bound import loss_bound

LEAST = 30
"""Queries in a fold below which nothing is tested."""
SHRUNK, ABOVE = 0.5, 0.1
"""The factor of a shrunk variant, and the gain that a cautious one must predict (units of quality)."""

Vector = Float[np.ndarray, " n"]
Matrix = Float[np.ndarray, "n model"]


@dataclass(frozen=True, slots=True)
class Variant:
    """A router as it is; or its estimates shrunk towards the single models' means; or only where it predicts a gain.

    `router` is its name, `shrink` a of q_0 + a (q_r - q_0), `above` h: the best single model unless the predicted
    gain exceeds h.
    """

    router: str
    shrink: float = 1.0
    above: float = 0.0

    @property
    def label(self) -> str:
        """What reports call it."""
        if self.shrink != 1:
            return f"{self.router} shrunk by {self.shrink:g}"
        return f"{self.router} above {self.above:g}" if self.above else self.router

    def scores(self, estimates: Matrix, means: Float[np.ndarray, " model"], priced: np.ndarray) -> Matrix:
        """Estimates by which the model is chosen, once `priced` (lambda times price) is taken off."""
        if self.shrink != 1:
            return np.asarray(means + self.shrink * (estimates - means))
        if not self.above:
            return estimates
        worth = estimates - priced
        gain = worth.max(1) - worth[:, int((means - priced).argmax())]
        return np.where((gain > self.above)[:, None], estimates, means)


def variants(routers: Sequence[str]) -> tuple[Variant, ...]:
    """Three of each router, the simplest first: shrunk, cautious, as it is."""
    return tuple(
        v for name in routers for v in (Variant(name, shrink=SHRUNK), Variant(name, above=ABOVE), Variant(name))
    )


Fit = Callable[[str, Observed, int, Encoder], Any]
"""A router by its name, fitted on queries with a seed and features that are known."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is fixed in advance: the candidates in order, the test, the folds, and what quality is bought for."""

    candidates: tuple[Variant, ...]
    fit: Fit
    c: float = 1.645
    folds: int = 5
    repeats: int = 3
    lambda_: float = 0.0
    cost: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidate taken (None: the best single model), and what was found of all of them, in their order.

    `means` and `errors` are of the differences to the best single; `bound` is that on the expected loss.
    """

    taken: Variant | None
    means: tuple[float, ...]
    errors: tuple[float, ...]
    bound: float
    why: str


class Remembered:
    """Features that have been computed, found by the text.

    `turned`: few sparse rows as dense ones with the same products, for routers that see features through those alone.
    """

    def __init__(self, texts: Sequence[str], rows: Rows, *, turned: bool = False) -> None:
        self.place = {text: i for i, text in enumerate(texts)}
        self.all = with_same_products(rows) if turned and hasattr(rows, "indptr") and len(texts) <= DUAL else rows

    def rows(self, texts: Sequence[str]) -> Rows:
        """The rows of known texts."""
        return self.all[np.array([self.place[text] for text in texts], int)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing: who fits with it keeps the encoder itself."""
        return {}


def with_same_products(rows: Rows) -> Float[np.ndarray, "n n"]:
    """The square root of the matrix of all products: rows that many fits read sooner, up to rounding the same."""
    values, vectors = np.linalg.eigh((rows @ rows.T).toarray().astype(float))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), np.float32)


def choose(observed: Observed, encoder: Encoder, rules: Rules, seed: int) -> Choice:
    """Test all candidates by cross-fitting on `observed`, in several splits that `seed` draws."""
    count = len(rules.candidates)
    if len(dict.fromkeys(observed.queries)) < LEAST * rules.folds:
        why = f"fewer than {LEAST} different queries a fold: nothing is tested"
        return Choice(None, (0.0,) * count, (0.0,) * count, 0.0, why)
    repeats = [differences(observed, encoder, rules, seed * 1000 + r) for r in range(rules.repeats)]
    apart = np.array(repeats).mean(0)
    errors = np.array([standard_error(d, observed.queries, rules.folds) for d in apart.T])
    if not np.isfinite(errors).all():
        return Choice(None, (0.0,) * count, (0.0,) * count, 0.0, "too few qualities are known: nothing is tested")
    means = np.nanmean(apart, 0)
    taken, why = decided(means, errors, rules)
    bound = loss_bound(count, rules.c, float(errors.max()))
    return Choice(taken, tuple(means.tolist()), tuple(errors.tolist()), bound, why)


def decided(means: np.ndarray, errors: np.ndarray, rules: Rules) -> tuple[Variant | None, str]:
    """The simplest candidate within one standard error of the best, if it passes its own test."""
    best = int(means.argmax())
    least = means[best] - errors[best]
    near = next((r for r in range(len(means)) if means[r] >= least), best)
    told = f"{rules.candidates[near].label}: {means[near]:+.4f} against {rules.c:g} x {errors[near]:.4f}"
    if least <= 0 or means[near] <= rules.c * errors[near]:
        return None, f"not surely better, {told}"
    return rules.candidates[near], told


def differences(observed: Observed, encoder: Encoder, rules: Rules, seed: int) -> Float[np.ndarray, "n candidate"]:
    """d_ir: what each candidate has over the best single on each query, neither having seen its fold; NaN: unknown."""
    fold = folds_by_prompt(observed, seed, rules.folds)
    found = np.full((len(observed), len(rules.candidates)), np.nan)
    worth = utilities(observed, rules)
    for f in range(rules.folds):
        seen, unseen = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        if len(seen) and len(unseen):
            chosen = fitted_choices(observed.rows(seen), observed.rows(unseen).queries, encoder, rules, seed)
            single = worth[unseen, single_of(observed.rows(seen), rules)]
            for r, variant in enumerate(rules.candidates):
                found[unseen, r] = worth[unseen, chosen[variant]] - single
    return found


def fitted_choices(
    seen: Observed,
    texts: Sequence[str],
    encoder: Encoder,
    rules: Rules,
    seed: int,
    only: Variant | None = None,
) -> Mapping[Variant, Int[np.ndarray, " text"]]:
    """The model that each candidate (or `only` one), fitted on `seen`, chooses for each text."""
    wanted = rules.candidates if only is None else (only,)
    order, means, priced = np.array(seen.ranking()), seen.accuracy, rules.lambda_ * prices_of(seen, rules)
    found = {}
    for name in dict.fromkeys(variant.router for variant in wanted):
        estimates = rules.fit(name, seen, seed, encoder).predict(texts)
        for variant in wanted:
            if variant.router == name:
                scores = variant.scores(estimates, means, priced) - priced
                found[variant] = order[scores[:, order].argmax(1)]
    return found


def outer(
    observed: Observed, encoder: Encoder, rules: Rules, seed: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Who answers each query by the whole procedure, its test inside, and by the best single; both of other folds.

    The winner's own cross-fitted mean is selected, and so too high; this is not.
    """
    fold = folds_by_prompt(observed, seed, rules.folds)
    ours, singles = np.zeros((2, len(observed)), int)
    for f in range(rules.folds):
        seen, unseen = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        if not len(seen) or not len(unseen):
            continue
        part, texts = observed.rows(seen), observed.rows(unseen).queries
        singles[unseen] = ours[unseen] = single_of(part, rules)
        taken = choose(part, encoder, rules, seed).taken
        if taken is not None:
            ours[unseen] = fitted_choices(part, texts, encoder, rules, seed, taken)[taken]
    return ours, singles


def standard_error(differences: Vector, queries: Sequence[str], folds: int) -> float:
    """Of the mean of the known differences, times sqrt(1 + V / (V - 1)) since folds share what they are fitted on.

    (Nadeau and Bengio 2003.) Equal queries count as one, whose differences are added up.

    >>> round(standard_error(np.array([1.0, -1.0, 1.0, -1.0]), ["a", "b", "c", "d"], 5), 6)
    0.866025
    """
    known = np.flatnonzero(~np.isnan(differences))
    values = differences[known]
    _, index = np.unique(np.array([queries[int(i)] for i in known]), return_inverse=True)
    clusters = int(index.max()) + 1 if len(index) else 0
    if clusters < 2:
        return float("inf")
    sums = np.bincount(index, weights=values - values.mean())
    spread = sqrt(float((sums**2).sum()) * clusters / (clusters - 1)) / len(values)
    return spread * sqrt(1 + folds / (folds - 1))


def folds_by_prompt(observed: Observed, seed: int, folds: int) -> Int[np.ndarray, " n"]:
    """The fold of each query: equal prompts together, every group evenly among all."""
    first: dict[str, int] = {}
    for i, query in enumerate(observed.queries):
        first.setdefault(query, i)
    groups = [observed.groups[i] for i in first.values()] if observed.groups else []
    fold = dict(zip(first, folds_of(len(first), seed, groups, folds).tolist(), strict=True))
    return np.array([fold[query] for query in observed.queries])


def prices_of(observed: Observed, rules: Rules) -> Float[np.ndarray, " model"]:
    """As given, else the mean observed."""
    return np.array(rules.cost, float) if rules.cost is not None else observed.prices()


def single_of(observed: Observed, rules: Rules) -> int:
    """The best single model: of equal ones the first by rank."""
    worth = observed.accuracy - rules.lambda_ * prices_of(observed, rules)
    return max(observed.ranking(), key=lambda m: worth[m])


def utilities(observed: Observed, rules: Rules) -> Matrix:
    """Quality less lambda times cost: what was observed of the query where that is known, else the mean price."""
    if not rules.lambda_:
        return observed.quality
    cost = np.tile(prices_of(observed, rules), (len(observed), 1))
    if rules.cost is None and observed.cost is not None:
        cost = np.where(np.isnan(observed.cost), cost, observed.cost)
    return np.asarray(observed.quality - rules.lambda_ * cost)
