"""RECOMP's abstractive compressor (2310.04408, section 3.2): a summary of what helps to answer, or nothing at all.

An empty output is legal and means: prepend nothing (selective augmentation). The paper trains when to stay empty; here
that is left to the model, which may answer with nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.rewriting import rewritten
from consort.core.params import Range
from consort.models.base import LanguageModel

ASK = "{text}\n\nQuestion: {question}\nSummarise what in the text above helps to answer the question.\nSummary:"


@compressor(paper="2310.04408")
class Abstractive(Compressor):
    """Let `model` summarise what helps to answer the question; an empty summary leaves the part out whole."""

    needs_question = True

    def __init__(self, model: LanguageModel, *, rate: Annotated[float, Range(0, 1)] = 0.2) -> None:
        self.model, self.rate = model, rate

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.model,)

    def shorten(self, job: Job) -> list[Compression]:
        question = job.question or ""
        return rewritten(self.model, job, lambda text, tokens: ASK.format(text=text.strip(), question=question))
