"""Votes over answers: who has won, what a voter's word is worth, and which voters to take.

Answers are whole numbers that name equal answers, -1 for one that could not be read; voters stand in the order in which
ties are decided, the best first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from consort.ensemble.answers.reading import codes

NEAR = 1e-9
"""Sums of weights less than this apart are equal: the order in which they were added must not decide."""


def support(
    codes: Int[np.ndarray, "row voter"], weights: Float[np.ndarray, " voter"]
) -> Float[np.ndarray, "row voter"]:
    """The summed weight of each voter's answer, minus infinity where it could not be read."""
    same = codes[:, :, None] == codes[:, None, :]
    return np.where(codes >= 0, (same * weights).sum(-1), -np.inf)


def winners(codes: Int[np.ndarray, "row voter"], weights: Float[np.ndarray, " voter"]) -> Int[np.ndarray, " row"]:
    """The first voter of the answer with most weight, by row; -1 where no answer could be read.

    Of equal answers the one that the earliest voter gave.
    """
    sums = support(codes, weights)
    best = sums.max(1)
    return np.where(best > -np.inf, (sums >= best[:, None] - NEAR).argmax(1), -1)


def elected(answers: Sequence[str | None], weights: Sequence[float] | None = None) -> int | None:
    """The voter whose answer wins (default: all weigh the same), None where no answer can be read."""
    weight = np.ones(len(answers)) if weights is None else np.array(weights, dtype=float)
    chosen = int(winners(np.array([codes(answers)]), weight)[0]) if answers else -1
    return None if chosen < 0 else chosen


def log_odds(accuracy: Sequence[float], classes: int) -> list[float]:
    """max(0, log((K - 1) p / (1 - p))), what a voter of accuracy p is worth among K equally likely answers.

    A voter worse than chance has no weight. An accuracy of 0 or 1 counts as one thousandth from it.
    """
    inside = [min(max(p, 1e-3), 1 - 1e-3) for p in accuracy]
    return [max(0.0, math.log((classes - 1) * p / (1 - p))) for p in inside]


def shrunk(quality: Float[np.ndarray, "row model"], classes: int) -> list[float]:
    """(right + 1) / (n + K): accuracies as if each of K answers had been seen once more; NaN counts as not seen.

    >>> shrunk(np.array([[1.0], [1.0]]), 4)
    [0.5]
    """
    known = ~np.isnan(quality)
    return [float(p) for p in (np.where(known, quality, 0.0).sum(0) + 1) / (known.sum(0) + classes)]


def apart(weights: Sequence[float], quality: Float[np.ndarray, "row model"]) -> list[float]:
    """Weights divided by how many voters a voter shares its errors with, so that copies count once.

    The number is the sum of positive correlations between errors, 1 of a voter with itself. Log-odds add up only where
    errors are independent.
    """
    wrong = 1 - np.nan_to_num(quality)
    centred = wrong - wrong.mean(0)
    size = np.sqrt((centred**2).sum(0))
    scale = np.outer(size, size)
    alike = np.where(scale > 0, centred.T @ centred / np.where(scale > 0, scale, 1.0), 0.0)
    np.fill_diagonal(alike, 1.0)
    return [float(w) for w in np.array(weights) / np.maximum(alike, 0.0).sum(0)]


def order_of(scores: Sequence[float]) -> list[int]:
    """Voters by score, the best first; of equals in the order given."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def vote_quality(
    codes: Int[np.ndarray, "row model"],
    quality: Float[np.ndarray, "row model"],
    pool: Sequence[int],
    weights: Sequence[float] | None = None,
) -> Float[np.ndarray, " row"]:
    """The quality of the answer that the models of `pool` vote for, by row; where none can be read, the first's."""
    chosen = list(pool)
    weight = np.ones(len(chosen)) if weights is None else np.array([weights[m] for m in chosen], dtype=float)
    first = np.maximum(winners(codes[:, chosen], weight), 0)
    return np.asarray(quality[np.arange(len(codes)), np.array(chosen)[first]])


def forward_selection(
    codes: Int[np.ndarray, "row model"],
    quality: Float[np.ndarray, "row model"],
    *,
    weights: Sequence[float] | None = None,
    most: int | None = None,
    patience: int = 2,
) -> list[int]:
    """Determine, then ensemble: the best model, then again and again the one that helps the vote most.

    A second voter never changes a vote that the first breaks ties of, so the search goes on through `patience` steps
    without gain and then falls back to the best pool seen, the smallest of equals. Models come back in the order in
    which ties are decided: by mean quality.
    """
    mean = quality.mean(0)
    ranked = order_of(list(mean))
    pool, best, best_score = [ranked[0]], [ranked[0]], float(mean[ranked[0]])
    idle = 0
    while len(pool) < min(most or len(ranked), len(ranked)) and idle < patience:
        trials = [sorted([*pool, m], key=ranked.index) for m in ranked if m not in pool]
        scores = [float(vote_quality(codes, quality, trial, weights).mean()) for trial in trials]
        pool = trials[int(np.argmax(scores))]
        idle += 1
        if max(scores) > best_score + NEAR:
            best, best_score, idle = pool, max(scores), 0
    return best


def focal_diversity(right: Float[np.ndarray, "row model"]) -> float:
    """How differently models fail, in [0, 1] (2410.03953): 1 where no two fail together.

    For each model, over the rows where it is wrong: 1 - p(2) / p(1), where p(1) is the chance that one model drawn at
    random is wrong and p(2) that two are; the mean over models that are ever wrong, 1 where none is.
    """
    wrong = right < 0.5
    count = right.shape[1]
    found = []
    for m in range(count):
        failed = wrong[wrong[:, m]].sum(1)
        if len(failed) and count > 1:
            one = (failed / count).mean()
            two = (failed * (failed - 1) / (count * (count - 1))).mean()
            found.append(1 - two / one)
    return float(np.mean(found)) if found else 1.0


def diverse_selection(
    codes: Int[np.ndarray, "row model"], quality: Float[np.ndarray, "row model"], *, most: int = 5
) -> list[int]:
    """The best model, then the one whose errors differ most from the pool's, while the vote does not get worse."""
    ranked = order_of(list(quality.mean(0)))
    pool = [ranked[0]]
    best, best_score = list(pool), float(quality[:, ranked[0]].mean())
    while len(pool) < min(most, len(ranked)):
        rest = [m for m in ranked if m not in pool]
        added = max(rest, key=lambda m: focal_diversity(quality[:, [*pool, m]]))
        pool = sorted([*pool, added], key=ranked.index)
        score = float(vote_quality(codes, quality, pool).mean())
        if score > best_score + NEAR:
            best, best_score = list(pool), score
    return best
