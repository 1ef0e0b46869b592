"""Sentences by BM25 against the question: the baseline of retrieval, and hard to beat."""

from __future__ import annotations

from typing import Annotated, Literal

from consort.cooperate.compress.bm25 import bm25
from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.selecting import Scored
from consort.cooperate.compress.units import units_of
from consort.core.params import Range


@compressor(paper="Robertson and Zaragoza 2009")
class Bm25(Compressor):
    """The sentences that share the question's rarer words, in their order. All parts are one collection."""

    needs_question = True

    def __init__(
        self,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        unit: Literal["phrase", "sentence"] = "sentence",
        k1: Annotated[float, Range(0, 100)] = 1.5,
        b: Annotated[float, Range(0, 1)] = 0.75,
    ) -> None:
        self.rate, self.unit, self.k1, self.b = rate, unit, k1, b

    def shorten(self, job: Job) -> list[Compression]:
        units = [units_of(text, self.unit) for text in job.texts]
        texts = [text[a:b] for text, spans in zip(job.texts, units, strict=True) for a, b in spans]
        scores = iter(bm25(job.question or "", texts, k1=self.k1, b=self.b))
        return job.selected([Scored(t, u, [next(scores) for _ in u]) for t, u in zip(job.texts, units, strict=True)])
