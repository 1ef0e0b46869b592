"""The compressor that fits what there is: a question, an encoder checkpoint, a small model, or nothing."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.compressors.bm25 import Bm25
from consort.cooperate.compress.compressors.first import First
from consort.cooperate.compress.compressors.hybrid import Hybrid
from consort.cooperate.compress.compressors.selective import Selective
from consort.cooperate.compress.parts import Compression
from consort.core.params import Range
from consort.models.token_model import TokenModel


@compressor(paper="2310.06839")
class Auto(Compressor):
    """Choose by what is there: with a question and a `scorer` `hybrid`, with a question alone `bm25`; without one
    `selective`, or `first` where there is no scorer. `details` tells which.
    """

    def __init__(self, scorer: TokenModel | None = None, *, rate: Annotated[float, Range(0, 1)] = 0.5) -> None:
        self.scorer, self.rate = scorer, rate

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return () if self.scorer is None else (self.scorer,)

    @cached_property
    def _choices(self) -> dict[tuple[bool, bool], Compressor]:
        found: dict[tuple[bool, bool], Compressor] = {(True, False): Bm25(), (False, False): First()}
        if self.scorer is not None:
            found |= {(True, True): Hybrid(self.scorer), (False, True): Selective(self.scorer)}
        return found

    def shorten(self, job: Job) -> list[Compression]:
        chosen = self._choices[bool(job.question), self.scorer is not None]
        job.notes["chosen"] = chosen.name
        return chosen.shorten(job)
