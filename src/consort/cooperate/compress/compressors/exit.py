"""EXIT (2412.12559): each sentence is judged useful or not with its whole document in view; kept ones stay verbatim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from consort.cooperate.compress.compressor import Compressor, Job, scorer_of
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.fitted import cut_to
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.reading import log_likelihoods
from consort.cooperate.compress.selecting import Scored
from consort.cooperate.compress.units import sentences
from consort.core.params import Range
from consort.models.token_model import TokenModel

ASK = (
    "Query: {question}\nFull context: {document}\nSentence: {sentence}\n"
    "Is this sentence useful in answering the query? Answer only Yes or No.\nAnswer:"
)
SHOW = "{document}\n{sentence}\n{question}"


@compressor(paper="2412.12559")
class Exit(Compressor):
    """Keep the sentences that a model holds useful for the question, each judged with its document in view.

    `by`: `verdict` is log p(Yes) - log p(No), for models that follow instructions; `question`: how much likelier the
    question is after the document and the sentence once more than after the document alone; any model tells that.
    A document that does not fit into the window is shown around the sentence.
    """

    needs_question = True

    def __init__(
        self,
        scorer: TokenModel,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        by: Literal["verdict", "question"] = "verdict",
    ) -> None:
        self.scorer, self.rate, self.by = scorer_of(scorer, "exit"), rate, by

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.scorer,)

    def shorten(self, job: Job) -> list[Compression]:
        scored = []
        for text in job.texts:
            units = sentences(text)
            own = [text[a:b].strip() for a, b in units]
            views = [self._view(text, a, b, job.question or "") for a, b in units]
            scored.append(Scored(text, units, self._scores(own, views, job)))
        return job.selected(scored)

    def _view(self, text: str, start: int, end: int, question: str) -> str:
        """The document, or as much of it around the sentence as fits beside the question and the sentence."""
        window = self.scorer.window
        if window is None:
            return text
        template = ASK if self.by == "verdict" else SHOW
        rest = template.format(question=question, document="", sentence=text[start:end].strip())
        room = window - len(self.scorer.tokenizer.encode(rest)) - 8
        return cut_to(self.scorer.tokenizer, text, room, around=(start, end))

    def _scores(self, own: Sequence[str], views: Sequence[str], job: Job) -> list[float]:
        question = job.question or ""
        if self.by == "verdict":
            heads = [
                ASK.format(question=question, document=view, sentence=sentence)
                for view, sentence in zip(views, own, strict=True)
            ]
            found = log_likelihoods(self.scorer, [(head, said) for head in heads for said in (" Yes", " No")], job)
            return [yes - no for yes, no in zip(found[::2], found[1::2], strict=True)]
        shown = [f"{view}\n{sentence}\n" for view, sentence in zip(views, own, strict=True)]
        plain = {view: f"{view}\n" for view in views}
        heads = [*shown, *plain.values()]
        found = log_likelihoods(self.scorer, [(head, question) for head in heads], job)
        base = dict(zip(plain, found[len(shown) :], strict=True))
        return [value - base[view] for value, view in zip(found, views, strict=False)]
