"""The baseline that is hard to beat between two models: long prompts go to the strong one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Rows
from consort.ensemble.routing.router import Router, held_against, threshold_in_use, threshold_of
from consort.models.base import LanguageModel


@strategy()
class Length(Router):
    """Ask `strong` where the prompt has at least `threshold` characters, else `weak`.

    Without a threshold, fitting finds the one at which `share` of the observed prompts goes to the strong model.
    """

    needs_features = False

    def __init__(
        self,
        strong: LanguageModel,
        weak: LanguageModel,
        *,
        threshold: Annotated[float, Range(0, 1000000000)] | None = None,
        share: Annotated[float, Range(0, 1)] = 0.5,
        state: str = "",
    ) -> None:
        super().__init__((strong, weak), state=state)
        self.strong, self.weak, self.threshold, self.share = strong, weak, threshold, share
        self.needs_fit = threshold is None

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        return Learned(self.kind, values={"threshold": threshold_of(lengths(observed.queries), self.share)})

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query 2"]:
        return held_against(lengths(texts), threshold_in_use(self))


def lengths(texts: Sequence[str]) -> Float[np.ndarray, " query"]:
    """Characters of each text."""
    return np.array([float(len(text)) for text in texts])
