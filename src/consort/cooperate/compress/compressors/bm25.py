"""Sentences by BM25 against the question: the baseline of retrieval, and hard to beat."""

from __future__ import annotations

from typing import Annotated, Literal

from consort.cooperate.compress.bm25 import bm25
from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.sentence_scores import scored_sentences
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
        question = job.question or ""
        return job.selected(scored_sentences(job, lambda s: bm25(question, s, k1=self.k1, b=self.b), self.unit))
