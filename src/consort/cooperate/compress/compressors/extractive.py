"""RECOMP's extractive compressor (2310.04408, section 3.1): the sentences most similar to the question, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.cooperate.compress.bm25 import bm25
from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Budget, Compression
from consort.cooperate.compress.sentence_scores import scored_sentences
from consort.cooperate.compress.vectors import check_encoder, embed
from consort.core.params import Range


@compressor(paper="2310.04408")
class Extractive(Compressor):
    """Keep the `n` best sentences of all documents (0: as many as the budget holds), by BM25 or by an encoder.

    `similarity`: `bm25`, or `dense` with `encoder` (see `dense`). With `n` the budget is a bound on top of it.
    """

    needs_question = True

    def __init__(
        self,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        n: Annotated[int, Range(0, 100000)] = 0,
        similarity: Literal["bm25", "dense"] = "bm25",
        encoder: str = "minilm",
    ) -> None:
        self.rate, self.n, self.similarity, self.encoder = rate, n, similarity, encoder
        if similarity == "dense":
            check_encoder(encoder)

    @property
    def own_budget(self) -> Budget:
        """With `n` sentences asked for, their number decides and not the tokens."""
        return Budget(threshold=float("-inf")) if self.n else Budget(rate=self.rate)

    def shorten(self, job: Job) -> list[Compression]:
        scored = scored_sentences(job, lambda sentences: self._scores(job.question or "", sentences))
        if not self.n:
            return job.selected(scored)
        ranked = sorted((-score, n, i) for n, text in enumerate(scored) for i, score in enumerate(text.scores))
        best = {(n, i) for _, n, i in ranked[: self.n]}
        kept = [[(n, i) in best for i in range(len(text.units))] for n, text in enumerate(scored)]
        if job.budget.threshold is not None:
            least = job.budget.threshold
            kept = [
                [k and s >= least for k, s in zip(own, t.scores, strict=True)]
                for own, t in zip(kept, scored, strict=True)
            ]
            return job.made(scored, kept)
        done = job.made(scored, kept)
        return done if sum(one.tokens_after for one in done) <= (job.most or 0) else job.selected(scored)

    def _scores(self, question: str, sentences: Sequence[str]) -> list[float]:
        if self.similarity == "bm25":
            return bm25(question, sentences)
        (asked,) = embed([question], self.encoder)
        found: list[float] = (embed(sentences, self.encoder) @ asked).tolist()
        return found
