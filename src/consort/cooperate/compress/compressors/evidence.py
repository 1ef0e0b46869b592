"""Sentences by what their absence costs: how much less likely a draft answer is without each (leave one out)."""

from __future__ import annotations

from typing import Annotated, Any

from consort.cooperate.compress.compressor import Compressor, Job, scorer_of
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.reading import log_likelihoods
from consort.cooperate.compress.sentence_scores import scored_sentences
from consort.core.params import Range
from consort.core.types import Sampling
from consort.models.cost import cost_of
from consort.models.token_model import TokenModel


@compressor(paper="2409.00729")
class Evidence(Compressor):
    """Keep the sentences whose removal makes a draft answer least likely: log p(draft | all) - log p(draft | without).

    The draft is `scorer`'s own greedy answer of at most `draft_tokens` to the whole context, or `answer` where that is
    given. A context that does not fit into the window is judged block by block, each block by itself.
    """

    needs_question = True

    def __init__(
        self,
        scorer: TokenModel,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        draft_tokens: Annotated[int, Range(1, 1000)] = 16,
        answer: str | None = None,
    ) -> None:
        self.scorer, self.rate = scorer_of(scorer, "evidence"), rate
        self.draft_tokens, self.answer = draft_tokens, answer

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.scorer,)

    def shorten(self, job: Job) -> list[Compression]:
        return job.selected(scored_sentences(job, lambda sentences: self._losses(list(sentences), job)))

    def _losses(self, sentences: list[str], job: Job) -> list[float]:
        asked = f"\n{job.question}\n"
        found: list[float] = []
        for block in self._blocks(sentences, asked):
            draft = self.answer if self.answer is not None else self._draft("".join(block) + asked, job)
            views = ["".join(block[:i] + block[i + 1 :]) + asked for i in range(len(block))]
            whole, *without = log_likelihoods(self.scorer, [(v, draft) for v in ["".join(block) + asked, *views]], job)
            found += [whole - value for value in without]
        return found

    def _blocks(self, sentences: list[str], asked: str) -> list[list[str]]:
        """Neighbouring sentences that fit into a window together, beside the question and a draft."""
        window, encode = self.scorer.window, self.scorer.tokenizer.encode
        if window is None:
            return [sentences]
        room = window - len(encode(asked)) - self.draft_tokens
        blocks: list[list[str]] = [[]]
        held = 0
        for sentence in sentences:
            size = len(encode(sentence))
            if blocks[-1] and held + size > room:
                blocks.append([])
                held = 0
            blocks[-1].append(sentence)
            held += size
        return blocks

    def _draft(self, prompt: str, job: Job) -> str:
        window = self.scorer.window
        if window is not None and len(self.scorer.tokenizer.encode(prompt)) + self.draft_tokens > window:
            job.notes["draft"] = "the question alone: the context does not fit beside it"
            return job.question or ""
        (answer,) = self.scorer.generate([prompt], Sampling(max_tokens=self.draft_tokens))
        for usage in cost_of(self.scorer, answer).values():
            job.spent.append((self.scorer, usage))
        return str(answer.text) or (job.question or "")
