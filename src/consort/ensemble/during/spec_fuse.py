"""SpecFuse: models propose spans of text, all score all spans, the best is appended (2412.07380).

It works on text, so tokenizers may differ, and every model reads the prompt in its own chat template. Scores are
log-probabilities for each byte, which different tokenizers share; the paper's dropping of weak models is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range, name_of
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.ensemble.during import strategy
from consort.ensemble.mixing.base import check_models, shares
from consort.ensemble.mixing.spans import Answer, SpanWriter
from consort.models.base import LanguageModel
from consort.models.cost import joined
from consort.models.decoding.sampling import check
from consort.models.token_model import TokenModel


@strategy(
    paper="2412.07380",
    exempt={"strategies_nest": "it writes spans and has no next-token distribution, which its members need"},
)
class SpecFuse:
    """Each model proposes the next `span` tokens; the span that all together find likeliest for its length is taken.

    `weight`: how much each model's opinion counts; a model of weight 0 neither proposes nor scores. `details` has
    `spans`, the number of spans taken from each model.
    A span is written as `Sampling` says; penalties count the tokens of the model that writes it.
    Raises Unsupported for a model without logits, BadParameter for a `logit_bias` where vocabularies differ.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        span: Annotated[int, Range(1, 1000)] = 10,
    ) -> None:
        self.models, self.weight, self.span = tuple(models), weight, span
        check_models(self.models, several=True)
        self.shares = shares(weight, len(self.models))
        self.name = f"{name_of(type(self).__name__)}({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        check(sampling, len(prompts))
        if sampling.grammar is not None:
            hint = "an average of the models does"
            raise Unsupported("answers made of spans do not obey a grammar", field="grammar", hint=hint)
        asked = [i for i, share in enumerate(self.shares) if share]
        if sampling.logit_bias and len({self.models[i].tokenizer.vocabulary_key for i in asked}) > 1:
            hint = "a bias names tokens of one vocabulary: take models that share it"
            raise BadParameter("the models have different vocabularies", field="logit_bias", hint=hint)
        writers = {i: SpanWriter(self.models[i], prompts, sampling) for i in asked}
        answers = [Answer(done=sampling.max_tokens == 0) for _ in prompts]
        while any(not answer.done for answer in answers):
            spans = {i: writer.propose(answers, self.span) for i, writer in writers.items()}
            for row, answer in enumerate(answers):
                answer.offered = [] if answer.done else [(i, spans[i][row]) for i in asked]
            opinions = [(self.shares[i], writer.opinions(answers)) for i, writer in writers.items()]
            for row, answer in enumerate(answers):
                if not answer.done:
                    answer.take([sum(w * found[row][k] for w, found in opinions) for k in range(len(asked))], sampling)
        costs = list(zip(*(writer.reading.session.spent() for writer in writers.values()), strict=True))
        return [self._completion(answer, asked, cost) for answer, cost in zip(answers, costs, strict=True)]

    def _completion(self, answer: Answer, asked: list[int], cost: Sequence[dict[str, Usage]]) -> Completion:
        spent = joined(self, [(self.models[i], one) for i, one in zip(asked, cost, strict=True)])
        taken = {self.models[i].name: answer.taken.count(i) for i in asked}
        usage = Usage(0, len(answer.tokens), 1, sum(u.seconds for u in spent.values()))
        finish = "stop" if answer.ended else "length"
        return Completion(answer.text, tuple(answer.tokens), None, finish, usage, spent, {"spans": taken})
