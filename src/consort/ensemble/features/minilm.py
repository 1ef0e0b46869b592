"""all-MiniLM-L6-v2, which the extra `embed` brings along."""

from __future__ import annotations

from consort.ensemble.features import feature
from consort.ensemble.features.encoder import Encoder


@feature()
class Minilm(Encoder):
    """The states of all-MiniLM-L6-v2 (384 numbers). Raises MissingExtra without the extra `embed`."""

    def __init__(self) -> None:
        super().__init__("minilm")
