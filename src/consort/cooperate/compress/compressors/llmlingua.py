"""LLMLingua (2310.05736): coarse to fine; demonstrations by perplexity, then tokens, segment by segment.

Differs from the published code: the score of a token is its own (the code's filter keeps the token *before* each
surprising one), the last segment is compressed too, the budget counts the reader's tokens and is met, and words are
not cut inside by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np

from consort.cooperate.compress.compressor import Compressor, Job, scorer_of
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.pruning import prune
from consort.cooperate.compress.surprisal import read, surprisals
from consort.core.params import Range
from consort.models.token_model import TokenModel


@compressor(paper="2310.05736")
class Llmlingua(Compressor):
    """Keep the tokens that surprise a small model most, given what has been kept of the text before them.

    Of several parts, those of highest perplexity are kept first, up to the budget and `slack` tokens more; the others
    are left out whole. Tokens are then dropped in segments of `iterative_size`. `unit`: words are kept whole, or single
    tokens of the scorer.
    """

    def __init__(
        self,
        scorer: TokenModel,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        unit: Literal["token", "word"] = "word",
        iterative_size: Annotated[int, Range(1, 100000)] = 200,
        slack: Annotated[int, Range(0, 1000000)] = 100,
    ) -> None:
        self.scorer, self.rate, self.unit = scorer_of(scorer, "llmlingua"), rate, unit
        self.iterative_size, self.slack = iterative_size, slack

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.scorer,)

    def shorten(self, job: Job) -> list[Compression]:
        stays = self._coarse(job)
        kept = sum(size for size, stay in zip(job.sizes, stays, strict=True) if stay)
        share = 1.0 if job.most is None or not kept else min(1.0, job.most / kept)
        shares = [share if stay else 0.0 for stay in stays]
        order = range(len(job.texts))
        return prune(self.scorer, job, order, shares, unit=self.unit, size=self.iterative_size)

    def _coarse(self, job: Job) -> list[bool]:
        """Which parts are read further: those of highest perplexity, up to the budget and the slack."""
        if job.most is None or len(job.texts) == 1 or sum(job.sizes) <= job.most + self.slack:
            return [True] * len(job.texts)
        tokens = [read(self.scorer.tokenizer, text).ids for text in job.texts]
        found = surprisals(self.scorer, tokens, job=job)
        return fitting([_mean(nll) for nll in found], job.sizes, job.most + self.slack)


def _mean(nll: np.ndarray) -> float:
    known = nll[~np.isnan(nll)]
    return float(known.mean()) if len(known) else 0.0


def fitting(scores: Sequence[float], sizes: Sequence[int], most: int) -> list[bool]:
    """Which of several things are taken, best first, until they are `most` together; the first always is."""
    taken, left = [False] * len(scores), most
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if left <= 0:
            break
        taken[i] = True
        left -= sizes[i]
    return taken
