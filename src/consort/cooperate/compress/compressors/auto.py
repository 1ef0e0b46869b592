"""The compressor that fits what there is: a question, a small model, or nothing."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from consort.cooperate.compress.bm25 import terms
from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.compressors.bm25 import Bm25
from consort.cooperate.compress.compressors.first import First
from consort.cooperate.compress.compressors.longllmlingua import Longllmlingua
from consort.cooperate.compress.compressors.selective import Selective
from consort.cooperate.compress.parts import Compression
from consort.core.params import Range
from consort.models.token_model import TokenModel


@compressor(paper="2310.06839")
class Auto(Compressor):
    """Choose by what is there: with a question `bm25`, which no small scorer has beaten where both share words; where
    they share none, or no sentence is short enough, `longllmlingua` with a `scorer`. Without a question `selective`, or
    `first` where there is no scorer. `details` tells which.
    """

    def __init__(self, scorer: TokenModel | None = None, *, rate: Annotated[float, Range(0, 1)] = 0.5) -> None:
        self.scorer, self.rate = scorer, rate

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return () if self.scorer is None else (self.scorer,)

    @cached_property
    def _without_question(self) -> Compressor:
        return First() if self.scorer is None else Selective(self.scorer)

    def shorten(self, job: Job) -> list[Compression]:
        if not job.question:
            return self._done(self._without_question, job)
        done = self._done(Bm25(), job)
        asked = set(terms(job.question))
        if self.scorer is None or (
            any(one.text for one in done) and not asked.isdisjoint(w for text in job.texts for w in terms(text))
        ):
            return done
        return self._done(Longllmlingua(self.scorer, order="original"), job)

    def _done(self, chosen: Compressor, job: Job) -> list[Compression]:
        job.notes["chosen"] = chosen.name
        return chosen.shorten(job)
