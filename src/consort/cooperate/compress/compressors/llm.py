"""A prompted model writes the context shorter; what it writes is checked against the budget, not taken on trust."""

from __future__ import annotations

from typing import Annotated, Any

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.rewriting import rewritten
from consort.core.params import Range
from consort.models.base import LanguageModel

ASK = (
    "{text}\n\nShorten the text above to at most {tokens} tokens. Keep names, numbers and facts{question}; "
    "add nothing.\nShortened:"
)


@compressor(paper="baseline")
class Llm(Compressor):
    """Let `model` write each part shorter, with the question in view where there is one; cut to the budget."""

    def __init__(self, model: LanguageModel, *, rate: Annotated[float, Range(0, 1)] = 0.5) -> None:
        self.model, self.rate = model, rate

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.model,)

    def shorten(self, job: Job) -> list[Compression]:
        asked = f" that help to answer: {job.question}" if job.question else ""
        return rewritten(
            self.model, job, lambda text, tokens: ASK.format(text=text.strip(), tokens=tokens, question=asked)
        )
