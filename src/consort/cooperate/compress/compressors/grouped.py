"""Sentence grouping (semantic compression, 2312.09571): groups of one topic, each made short by itself, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.fitted import within
from consort.cooperate.compress.grouping import communities, contiguous
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.selecting import Scored
from consort.cooperate.compress.units import sentences
from consort.cooperate.compress.vectors import check_encoder, embed
from consort.core.params import Range
from consort.core.types import Sampling
from consort.models.base import LanguageModel
from consort.models.cost import cost_of

ASK = "{text}\n\nSummarise the text above in one or two sentences.\nSummary:"


@compressor(paper="2312.09571", example={"encoder": "ngrams"})
class Grouped(Compressor):
    """Group the sentences by topic and shorten each group: by `model`, or without one to its most central sentences.

    `method`: `contiguous` (runs of neighbours of least variance, as many as the budget has room for) or `louvain`
    (communities of the similarity graph, drawn by `seed`). A group of one sentence is copied.
    """

    def __init__(
        self,
        *,
        model: LanguageModel | None = None,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        method: Literal["contiguous", "louvain"] = "contiguous",
        encoder: str = "minilm",
        seed: Annotated[int, Range(0, 4294967295)] = 0,
    ) -> None:
        self.model, self.rate, self.method, self.encoder, self.seed = model, rate, method, encoder, seed
        check_encoder(encoder)

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return () if self.model is None else (self.model,)

    def shorten(self, job: Job) -> list[Compression]:
        units = [sentences(text) for text in job.texts]
        texts = [text[a:b] for text, spans in zip(job.texts, units, strict=True) for a, b in spans]
        vectors = embed([text.strip() for text in texts], self.encoder)
        if self.method == "louvain":
            groups = communities(vectors, seed=self.seed)
        else:
            groups = contiguous(vectors, max(1, round(job.share * len(texts))))
        job.notes["groups"] = len(groups)
        if self.model is None or job.budget.threshold is not None:
            scores = iter(_central(vectors, groups))
            return job.selected(
                [Scored(t, u, [next(scores) for _ in u]) for t, u in zip(job.texts, units, strict=True)]
            )
        return self._written(job, texts, groups)

    def _written(self, job: Job, texts: Sequence[str], groups: Sequence[Sequence[int]]) -> list[Compression]:
        """All texts as one, group after group, written by the model; the first part has it."""
        assert self.model is not None
        room = max(1, (job.most or 0) // len(groups))
        several = ["".join(texts[i] for i in group) for group in groups if len(group) > 1]
        asked = [ASK.format(text=text.strip()) for text in several]
        answers = self.model.generate(asked, Sampling(max_tokens=room)) if asked else []
        for answer in answers:
            job.spent += [(self.model, usage) for usage in cost_of(self.model, answer).values()]
        written = iter(answer.text.strip() for answer in answers)
        pieces = ["".join(texts[i] for i in g).strip() if len(g) == 1 else next(written) for g in groups]
        short = within("\n".join(p for p in pieces if p), job.most or 0, job.count)
        if short:
            short += job.texts[-1][len(job.texts[-1].rstrip()) :] if job.count(short) < (job.most or 0) else ""
        first = Compression(short, (), job.sizes[0], job.count(short))
        return [first, *(Compression("", (), size, 0, part=i) for i, size in enumerate(job.sizes) if i)]


def _central(vectors: np.ndarray, groups: Sequence[Sequence[int]]) -> list[float]:
    """Rank within the group first, likeness to its middle second: one sentence of each group goes before all others."""
    found = [0.0] * len(vectors)
    for group in groups:
        middle = vectors[list(group)].mean(0)
        likeness = vectors[list(group)] @ middle
        for rank, i in enumerate(np.argsort(-likeness, kind="stable").tolist()):
            found[group[i]] = -float(rank) + 0.5 * float(np.clip(likeness[i], -1, 1))
    return found
