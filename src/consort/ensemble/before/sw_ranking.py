"""RouteLLM's similarity-weighted ranking: Bradley-Terry over battles like this prompt (2406.18665, section 4.2).

Every observed query is a battle of each pair of models, weighing gamma^(1 + similarity / largest similarity). Models
are first put into at most 10 tiers. The wins of each battle between tiers are kept, so a decision is one product and a
small fit, not a fit over all battles.

The paper takes gamma 10: battles like the prompt weigh at most ten times as much as any other. Of thousands of battles
that is the same ranking for every prompt; how local it should be is therefore learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.before.knn import BLOCK
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.alike import cosines, transposed
from consort.ensemble.routing.features import Features, Rows, packed
from consort.ensemble.routing.linear import folds_of, routed
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel

GAMMAS = (10.0, 1e2, 1e3, 1e4, 1e5, 1e6)
SCALE = 400 / np.log(10)
"""Elo points of a factor e in the odds."""


@strategy(paper="2406.18665")
class SwRanking(Router):
    """Take the model most likely to beat the others in battles like this prompt (`cost`, `lambda`: less price).

    A model's score is its mean win probability against each other model; the better of two answers wins, ties count
    for both. `tiers`: into how many of similar strength models are bucketed. `gamma`: how much more a battle most like
    the prompt weighs than one unlike it; 0: of 10 (the paper's) to 1e6 the one that routes best a fifth of the queries,
    held out, every group counting the same.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        tiers: Annotated[int, Range(2, 100)] = 10,
        gamma: Annotated[float, Range(0, 1e12)] = 0.0,
        cost: Sequence[float] | None = None,
        lambda_: Annotated[float, Range(0, 1000000000)] = 0.0,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__(models, cost=cost, lambda_=lambda_, features=features, state=state)
        self.tiers, self.gamma = tiers, gamma
        if 0 < gamma < 1:
            raise BadParameter(f"{gamma:g} prefers battles unlike the prompt", field="gamma", hint="at least 1, or 0")

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        tier = np.array(tiers_of(observed.accuracy.tolist(), self.tiers))
        count = int(tier.max()) + 1
        wins = wins_of(observed.quality, tier, count)
        gamma = self.gamma or best_gamma(rows, wins, tier, observed, seed)
        arrays = {**packed(transposed(rows), "columns"), "wins": wins, "tier": tier}
        return Learned(self.kind, arrays, {"gamma": gamma})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        alike, found = cosines(self.columns(), len(texts)), np.zeros((len(texts), len(self.models)))
        for i in range(0, len(texts), BLOCK):
            found[i : i + BLOCK] = self._chances(alike(rows[i : i + BLOCK]))
        return found

    def _chances(self, alike: Float[np.ndarray, "query n"]) -> Float[np.ndarray, "query model"]:
        gamma = self.learned_values.get("gamma", GAMMAS[0])
        rating = ratings(alike, self.learned_arrays["wins"], gamma)[:, self.learned_arrays["tier"]]
        chance = chances(rating)
        return np.asarray((chance.sum(2) - 0.5) / max(rating.shape[1] - 1, 1))


def ratings(
    alike: Float[np.ndarray, "query n"], wins: Float[np.ndarray, "n tier tier"], gamma: float
) -> Float[np.ndarray, "query tier"]:
    """Elo points for each query, from battles that weigh gamma^(1 + similarity / largest similarity), less a factor."""
    weight = gamma ** (alike / np.maximum(alike.max(1, keepdims=True), 1e-9) - 1)
    weighted = (weight @ wins.reshape(len(wins), -1)).reshape(len(alike), *wins.shape[1:])
    return bradley_terry(weighted.astype(float))


def chances(rating: Float[np.ndarray, "query player"]) -> Float[np.ndarray, "query player player"]:
    """Probability that the first of two players beats the second."""
    return np.asarray(1 / (1 + 10 ** ((rating[:, None, :] - rating[:, :, None]) / 400)))


def best_gamma(
    rows: Rows, wins: Float[np.ndarray, "n tier tier"], tier: np.ndarray, observed: Observed, seed: int
) -> float:
    """The gamma that routes a fifth of the queries best, by the battles of the others; of equal ones the smallest."""
    fold = folds_of(len(wins), seed, observed.groups)
    seen, unseen = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    if not len(seen):
        return GAMMAS[0]
    alike_of = cosines(transposed(rows[seen]), len(unseen))
    found = {gamma: np.zeros((len(unseen), len(tier))) for gamma in GAMMAS}
    for i in range(0, len(unseen), BLOCK):
        alike = alike_of(rows[unseen[i : i + BLOCK]])
        for gamma in GAMMAS:
            found[gamma][i : i + BLOCK] = ratings(alike, wins[seen], gamma)[:, tier]
    held_out = observed.rows(unseen)
    return max(GAMMAS, key=lambda gamma: (routed(found[gamma], held_out.quality, held_out.groups), -gamma))


def wins_of(quality: Float[np.ndarray, "n model"], tier: np.ndarray, count: int) -> Float[np.ndarray, "n tier tier"]:
    """Of each query how often tier i beat tier j over all pairs of models: a win counts two, a tie one for both."""
    found = np.zeros((len(quality), count, count), np.float32)
    for a in range(quality.shape[1]):
        for b in range(quality.shape[1]):
            if tier[a] != tier[b]:
                better, same = quality[:, a] > quality[:, b], quality[:, a] == quality[:, b]
                found[:, tier[a], tier[b]] += 2 * better + same
    return found


def bradley_terry(wins: Float[np.ndarray, "*b tier tier"], steps: int = 60) -> Float[np.ndarray, "*b tier"]:
    """Maximum-likelihood ratings in Elo points, mean 0, of each table of wins; by Newton's method.

    Two players of 3 wins to 1 are 190.8485 points apart.
    """
    tiers = wins.shape[-1]
    wins = wins + FEW * (1 - np.eye(tiers))
    games, rating = wins + np.swapaxes(wins, -1, -2), np.zeros(wins.shape[:-1])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(rating[..., None, :] - rating[..., :, None]))
        missing = (wins - games * chance).sum(-1)
        spread = games * chance * (1 - chance)
        total = spread.sum(-1)
        # ratings are known up to a constant: the added term keeps their sum where it is
        curvature = total[..., None] * np.eye(tiers) - spread + total.mean(-1)[..., None, None] + 1e-30
        step = np.clip(np.linalg.solve(curvature, missing[..., None])[..., 0], -LONGEST, LONGEST)
        rating = rating + step - step.mean(-1, keepdims=True)
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    return np.asarray(SCALE * rating)


FEW = 1e-9
"""Wins that everybody has against everybody, so that a player without any has a rating."""
LONGEST = 2.0
"""Most that a step moves a rating, in natural log-odds."""


def tiers_of(strengths: Sequence[float], most: int) -> list[int]:
    """The tier of each model, 0 the weakest: the split into at most `most` runs of least summed squared deviation.

    A dynamic programme over models in order of strength; there are no fewer tiers than needed.
    """
    order = sorted(range(len(strengths)), key=lambda m: (strengths[m], m))
    values = np.array([strengths[m] for m in order])
    n, tiers = len(values), min(most, len(values))
    sums, squares = np.r_[0, values.cumsum()], np.r_[0, (values**2).cumsum()]

    def deviation(i: int, j: int) -> float:
        return float(squares[j] - squares[i] - (sums[j] - sums[i]) ** 2 / (j - i))

    best = {(0, 0): (0.0, 0)}
    for k in range(1, tiers + 1):
        for j in range(k, n + 1):
            options = ((best[k - 1, i][0] + deviation(i, j), i) for i in range(k - 1, j) if (k - 1, i) in best)
            best[k, j] = min(options)
    found, j = [0] * n, n
    for k in range(tiers, 0, -1):
        i = best[k, j][1]
        for place in range(i, j):
            found[order[place]] = k - 1
        j = i
    return found
