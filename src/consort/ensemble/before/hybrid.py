"""Hybrid-LLM: does the small model do as well as the large one? (2404.14618).

The paper fine-tunes an encoder with binary cross-entropy; here logistic regression on frozen features. Rows of equal
prompt are samples of the same query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Features, Rows
from consort.ensemble.routing.linear import sigmoid, softmax_regression
from consort.ensemble.routing.router import Router, calibrated, held_against, threshold_in_use
from consort.models.base import LanguageModel

Labels = Literal["det", "prob", "trans"]
PENALTY = 1.0


@strategy(paper="2404.14618")
class Hybrid(Router):
    """Ask `weak` where it is likely as good as `strong`, i.e. where 1 - P(as good) stays below the threshold.

    `target`: "det" whether the first sample is (H >= 0), "prob" the share of pairs of samples where it is, "trans" the
    same with H >= -t, the t of most spread labels. `threshold` (0 always asks the strong model, above 1 never),
    else one that sends `share` to the strong model.
    """

    def __init__(
        self,
        strong: LanguageModel,
        weak: LanguageModel,
        *,
        target: Literal["det", "prob", "trans"] = "prob",
        threshold: Annotated[float, Range(0, 2)] | None = None,
        share: Annotated[float, Range(0, 1)] = 0.5,
        features: Features | None = None,
        state: str = "",
    ) -> None:
        super().__init__((strong, weak), features=features, state=state)
        self.strong, self.weak, self.threshold, self.share = strong, weak, threshold, share
        self.target = target

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        return calibrated(self.kind, self.train, score, rows, observed, self.share, seed)

    def train(self, rows: Rows, observed: Observed) -> dict[str, np.ndarray]:
        """The weights of a classifier of prompts on which the weak model is as good, on rows of features."""
        first, samples = samples_of(observed)
        easy = np.array(labels_of(samples, self.target))
        weight, intercept = softmax_regression(rows[first], np.stack([easy, 1 - easy], 1), PENALTY)
        return {"weight": weight[:, 1] - weight[:, 0], "intercept": intercept[1:] - intercept[:1]}

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query 2"]:
        return held_against(score(self.learned_arrays, rows), threshold_in_use(self))


def score(arrays: Mapping[str, np.ndarray], rows: Rows) -> Float[np.ndarray, " query"]:
    """Probability that the weak model is not as good."""
    return sigmoid(rows @ arrays["weight"] + arrays["intercept"][0])


Samples = list[tuple[np.ndarray, np.ndarray]]
"""Of each query the qualities of the strong and of the weak model, one for each sample."""


def samples_of(observed: Observed) -> tuple[list[int], Samples]:
    """The first row of each query, and its samples where both are known."""
    by_query: dict[str, list[int]] = {}
    for i, text in enumerate(observed.queries):
        if not np.isnan(observed.quality[i]).any():
            by_query.setdefault(text, []).append(i)
    rows = list(by_query.values())
    return [r[0] for r in rows], [(observed.quality[r, 0], observed.quality[r, 1]) for r in rows]


def labels_of(samples: Samples, kind: Labels) -> list[float]:
    """How easy each query is, in [0, 1]."""
    if kind == "det":
        return [float(weak[0] >= strong[0]) for strong, weak in samples]
    return at_least(samples, best_slack(samples) if kind == "trans" else 0.0)


def at_least(samples: Samples, slack: float) -> list[float]:
    """Of each query the share of pairs of samples with weak - strong >= -slack."""
    return [float((weak[None, :] - strong[:, None] >= -slack).mean()) for strong, weak in samples]


def best_slack(samples: Samples) -> float:
    """The slack t whose labels differ most, by the mean of |y_i - y_j| over all pairs; of equal ones the smallest."""
    tried = np.unique(np.concatenate([(s[:, None] - w[None, :]).ravel() for s, w in samples]).clip(0))
    return float(max([0.0, *tried], key=lambda t: (spread(np.array(at_least(samples, t))), -t)))


def spread(values: Float[np.ndarray, " n"]) -> float:
    """Mean absolute difference of all pairs, in O(n log n)."""
    n = len(values)
    return float((np.sort(values) * (2 * np.arange(n) - n + 1)).sum() * 2 / max(n * n, 1))
