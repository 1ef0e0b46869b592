"""LongLLMLingua (2310.06839): documents by how likely they make the question, tokens by contrast with it.

Sections 4.1 (question-aware coarse and fine compression), 4.2 (reordering), 4.3 (budgets by rank), 4.4 (`recover`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from consort.cooperate.compress.allocation import rates
from consort.cooperate.compress.compressor import Compressor, Job, scorer_of
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.compressors.llmlingua import fitting
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.pruning import prune
from consort.cooperate.compress.relevance import likelihoods
from consort.core.params import Range
from consort.models.token_model import TokenModel


@compressor(paper="2310.06839")
class Longllmlingua(Compressor):
    """Rank documents by the question's likelihood after each, then drop the tokens that the question explains least.

    Documents are taken best first up to the budget and `slack` tokens more; the share of each is spread linearly over
    the ranks by `dynamic_ratio` either way. A token's score is NLL(x) - NLL(x | question). `order`: the documents as
    they stood, best first, or the best at both ends. `restriction` follows the question where documents are ranked: the
    paper's sentence; a scorer that was never trained on such sentences ranks better without. `compress.recover` puts
    original phrases back into an answer.
    """

    needs_question = True

    def __init__(
        self,
        scorer: TokenModel,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        unit: Literal["token", "word"] = "word",
        iterative_size: Annotated[int, Range(1, 100000)] = 200,
        slack: Annotated[int, Range(0, 1000000)] = 100,
        dynamic_ratio: Annotated[float, Range(0, 1)] = 0.3,
        order: Literal["original", "sort", "two_stage"] = "sort",
        contrast: bool = True,
        restriction: str = " We can get the answer to this question in the given documents.",
    ) -> None:
        self.scorer, self.rate, self.unit = scorer_of(scorer, "longllmlingua"), rate, unit
        self.iterative_size, self.slack, self.dynamic_ratio = iterative_size, slack, dynamic_ratio
        self.order, self.contrast, self.restriction = order, contrast, restriction

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.scorer,)

    def shorten(self, job: Job) -> list[Compression]:
        question = (job.question or "").strip()
        relevance = likelihoods(self.scorer, job.texts, question + self.restriction, job)
        ranking = sorted(range(len(relevance)), key=lambda i: (-relevance[i], i))
        job.notes["ranking"] = ranking
        stays = [True] * len(job.texts)
        if job.most is not None and len(job.texts) > 1:
            stays = fitting(relevance, job.sizes, job.most + self.slack)
        chosen = [i for i in ranking if stays[i]]
        shares = self._shares(job, chosen)
        asked = self.scorer.tokenizer.encode(f"{question}\n", special=False) if self.contrast else None
        return prune(
            self.scorer, job, self._order(ranking), shares, unit=self.unit, size=self.iterative_size, question=asked
        )

    def _shares(self, job: Job, chosen: list[int]) -> list[float]:
        """The share of each document, best ranks more: their budgets add up to the whole."""
        shares = [0.0] * len(job.texts)
        sizes = [job.sizes[i] for i in chosen]
        rate = 1.0 if job.most is None else min(1.0, job.most / max(1, sum(sizes)))
        spread = np.linspace(self.dynamic_ratio, -self.dynamic_ratio, len(chosen)) if len(chosen) > 1 else [0.0]
        for i, share in zip(chosen, rates(sizes, rate, list(spread)), strict=True):
            shares[i] = float(share)
        return shares

    def _order(self, ranking: list[int]) -> list[int]:
        if self.order == "original":
            return sorted(ranking)
        if self.order == "sort":
            return ranking
        return [*ranking[::2], *ranking[1::2][::-1]]
