"""Sentences by the similarity of their vectors to the question's."""

from __future__ import annotations

from typing import Annotated, Literal

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.sentence_scores import scored_sentences
from consort.cooperate.compress.vectors import check_encoder, embed
from consort.core.params import Range


@compressor(paper="1908.10084", example={"encoder": "ngrams"})
class Dense(Compressor):
    """The sentences nearest to the question by an `encoder`: `minilm` (the extra `embed`), `ngrams`, or a folder."""

    needs_question = True

    def __init__(
        self,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        unit: Literal["phrase", "sentence"] = "sentence",
        encoder: str = "minilm",
    ) -> None:
        self.rate, self.unit, self.encoder = rate, unit, encoder
        check_encoder(encoder)

    def shorten(self, job: Job) -> list[Compression]:
        (question,) = embed([job.question or ""], self.encoder)
        return job.selected(scored_sentences(job, lambda s: embed(s, self.encoder) @ question, self.unit))
