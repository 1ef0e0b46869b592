"""First whole sentences by BM25, then tokens by LongLLMLingua: coarse by words, fine by a small model."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from consort.cooperate.compress.compressor import Compressor, Job, scorer_of
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.compressors.bm25 import Bm25
from consort.cooperate.compress.compressors.longllmlingua import Longllmlingua
from consort.cooperate.compress.parts import Budget, Compression, Span, joined_spans
from consort.core.params import Range
from consort.models.token_model import TokenModel


@compressor(paper="2310.06839")
class Hybrid(Compressor):
    """Keep sentences by `bm25` up to `coarse` times the budget, then drop tokens of those by `longllmlingua`."""

    needs_question = True

    def __init__(
        self,
        scorer: TokenModel,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        coarse: Annotated[float, Range(1, 100)] = 2.0,
        restriction: str = " We can get the answer to this question in the given documents.",
    ) -> None:
        self.scorer, self.rate, self.coarse, self.restriction = scorer_of(scorer, "hybrid"), rate, coarse, restriction

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.scorer,)

    def shorten(self, job: Job) -> list[Compression]:
        if job.most is None:
            return Bm25().shorten(job)
        most = min(sum(job.sizes), round(self.coarse * job.most))
        first = Bm25().shorten(replace(job, budget=Budget(tokens=most), most=most))
        left = [one for one in first if one.text]
        if not left:  # no sentence is so short
            return self._fine().shorten(job)
        fine = replace(job, texts=[one.text for one in left], sizes=[one.tokens_after for one in left])
        fine.roles = [job.roles[one.part] for one in left]
        done = self._fine(slack=0).shorten(fine)
        found = {left[one.part].part: _onto(left[one.part], one) for one in done}
        return [found.get(i, replace(one, text="", kept=(), tokens_after=0)) for i, one in enumerate(first)]

    def _fine(self, slack: int = 100) -> Longllmlingua:
        return Longllmlingua(self.scorer, order="original", slack=slack, restriction=self.restriction)


def _onto(coarse: Compression, fine: Compression) -> Compression:
    """Spans of a shortened text as spans of the original."""
    pieces: list[Span] = []
    for start, end in fine.kept:
        at = 0
        for a, b in coarse.kept:
            low, high = max(start, at), min(end, at + b - a)
            if low < high:
                pieces.append(Span(a + low - at, a + high - at))
            at += b - a
    return replace(coarse, text=fine.text, kept=joined_spans(pieces), tokens_after=fine.tokens_after)
