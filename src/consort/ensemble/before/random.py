"""The baseline that every router must beat: a model drawn for each prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float

from consort.core.params import Range
from consort.ensemble.before import strategy
from consort.ensemble.learning.fitting import Learned
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.features import Rows
from consort.ensemble.routing.router import Router
from consort.models.base import LanguageModel


@strategy()
class Random(Router):
    """Send each prompt to a model drawn by `seed` and the prompt's text, so that the order of prompts plays no part."""

    needs_features = needs_fit = False

    def __init__(
        self, models: Sequence[LanguageModel], *, seed: Annotated[int, Range(0, 9007199254740991)] = 0
    ) -> None:
        super().__init__(models)
        self.seed = seed

    def learn(self, rows: Rows, observed: Observed, seed: int) -> Learned:
        return Learned(self.kind)

    def estimate(self, rows: Rows, texts: Sequence[str]) -> Float[np.ndarray, "query model"]:
        return np.array([[draw(self.seed, label, text) for label in self.labels] for text in texts])


def draw(seed: int, label: str, text: str) -> float:
    """A number in [0, 1) fixed by its arguments."""
    digest = hashlib.blake2b(f"{seed}\0{label}\0{text}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48
