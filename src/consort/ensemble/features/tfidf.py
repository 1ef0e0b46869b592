"""The former name of `ngrams`, for plans that have it."""

from __future__ import annotations

from consort.ensemble.features import feature
from consort.ensemble.features.ngrams import Ngrams


@feature()
class Tfidf(Ngrams):
    """The features `ngrams` as they come, under the name that earlier plans have."""

    def __init__(self) -> None:
        super().__init__()
