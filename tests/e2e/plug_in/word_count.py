"""A router: prompts of many words go to the strong model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel


@strategy()
class WordCount(Router):
    """Ask `strong` where the prompt has at least `threshold` words, else `weak`."""

    needs_features = False
    needs_fit = False

    def __init__(
        self, strong: LanguageModel, weak: LanguageModel, *, threshold: Annotated[float, Range(0, 1000000)] = 4.0
    ) -> None:
        super().__init__((strong, weak))
        self.strong, self.weak, self.threshold = strong, weak, threshold

    def learn(self, rows: object, observed: Observed, seed: int) -> Learned:
        return Learned(self.kind)

    def estimate(self, rows: object, texts: Sequence[str]) -> np.ndarray:
        words = np.array([float(len(text.split())) for text in texts])
        return np.stack([words, np.full(len(texts), self.threshold)], axis=1)
