"""RECOMP's abstractive compressor (2310.04408, section 3.2): a summary of what helps to answer, or nothing at all.

An empty output is legal and means: prepend nothing (selective augmentation). When to stay empty is learned, as in the
paper, from the reader: a summary is a target only where it makes the right answer likelier. Differs from the paper: a
low-rank delta is learned, not the whole model; beside the teacher's summary each single sentence is a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.rewriting import asked, rewritten
from consort.core.params import Range
from consort.models.base import LanguageModel


@compressor(paper="2310.04408")
class Abstractive(Compressor):
    """Let `model` summarise what helps to answer the question; an empty summary leaves the part out whole.

    `state`: the file of `consort fit`, which teaches a local model what to write and when to write nothing, with
    `steps`, `lr` and the `rank` of the delta; `teacher` writes the summaries that are learned from (None: `model`).
    """

    needs_question = True

    def __init__(
        self,
        model: LanguageModel,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.2,
        teacher: LanguageModel | None = None,
        rank: Annotated[int, Range(1, 4096)] = 8,
        steps: Annotated[int, Range(1, 100000000)] = 300,
        lr: Annotated[float, Range(0.000000000001, 1000)] = 0.001,
        state: str | None = None,
    ) -> None:
        self.model, self.rate, self.teacher, self.state = model, rate, teacher, state
        self.rank, self.steps, self.lr = rank, steps, lr

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.model,)

    @cached_property
    def writer(self) -> Any:
        """The model that writes: with what it has learned, if it has learned anything."""
        if self.state is None:
            return self.model
        from consort.cooperate.compress.summaries import taught_model

        return taught_model(self.model, self.state, self.rank)

    def shorten(self, job: Job) -> list[Compression]:
        question = job.question or ""
        return rewritten(self.writer, job, lambda text, tokens: asked(text, question), paid=self.model)

    def learn(
        self, prompts: Sequence[Any], answers: Sequence[str], reader: Any, file: Path, *, seed: int = 0
    ) -> dict[str, Any]:
        """Learn from prompts and right answers what `reader` is helped by; writes `file` and uses it.

        Returns how many targets there were, how many of them empty, and the loss of the last step (nats). Killed and
        called again it goes on from `file` + `.training`. Raises Unsupported where the reader tells no likelihoods.
        """
        from consort.cooperate.compress.summaries import learn, targets

        teach: Callable[[Sequence[str]], list[str]] = summaries_of(self.teacher or self.model)
        chosen = targets(prompts, answers, reader, teach, self.rate)
        report = learn(self.model, chosen, file, rank=self.rank, steps=self.steps, lr=self.lr, seed=seed)
        self.state = str(file)
        self.__dict__.pop("writer", None)
        return report


def summaries_of(model: Any, tokens: int = 64) -> Callable[[Sequence[str]], list[str]]:
    """A function of texts already asked for: what the model writes, at most `tokens` of it."""
    from consort.core.types import Sampling

    def write(prompts: Sequence[str]) -> list[str]:
        return [answer.text.strip() for answer in model.generate(list(prompts), Sampling(max_tokens=tokens))]

    return write
