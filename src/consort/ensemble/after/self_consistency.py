"""Self-consistency (2203.11171) and Agent-Forest (2402.05120): one model answers many times, and the answers vote.

Where answers cannot be counted (open questions), the one most like all others wins: Agent-Forest's summed BLEU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.reading import Reading
from consort.ensemble.answers.samples import draws
from consort.ensemble.answers.text_similarity import consensus
from consort.ensemble.answers.text_similarity import utility as utility_named
from consort.ensemble.answers.voting import elected
from consort.ensemble.calls import Ledger, ask_side_by_side
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel


class _Samples:
    """What both have in common: draw `samples` answers, let `pick` choose one of the texts."""

    def __init__(self, model: LanguageModel, samples: int, temperature: float) -> None:
        self.model, self.samples, self.temperature = model, samples, temperature

    @property
    def members(self) -> Sequence[LanguageModel]:
        return (self.model,)

    def pick(self, texts: Sequence[str]) -> tuple[int, dict[str, object]]:
        raise NotImplementedError

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        asked, warm = draws(prompts, sampling, self.samples, self.temperature)
        [outcomes] = ask_side_by_side([(self.model, asked, warm)])
        found = []
        for row in range(len(prompts)):
            ledger = Ledger()
            own = outcomes[row * self.samples : (row + 1) * self.samples]
            said = [c for c in (ledger.enter(self.model.name, self.model, h) for h in own) if c is not None]
            chosen, details = self.pick([c.text for c in said]) if said else (0, {})
            found.append(ledger.completion(self, said[chosen] if said else None, samples=len(said), **details))
        return found


@strategy(paper="2203.11171")
class SelfConsistency(_Samples):
    """Sample a model several times and return the answer given most often, the first of equals.

    `answer` says what of a text is compared (see `vote`); samples that cannot be read do not vote. A greedy request is
    sampled at `temperature`. `details` has the number of `samples` and the winner's `share` of them.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        samples: Annotated[int, Range(1, 10000)] = 10,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        answer: Reading | None = None,
    ) -> None:
        super().__init__(model, samples, temperature)
        self.answer, self.read = answer, answer or Exact()
        self.name = f"self_consistency({model.name})"

    def pick(self, texts: Sequence[str]) -> tuple[int, dict[str, object]]:
        """The number of the answer that is given most often, the first of equals."""
        answers = [self.read(text) for text in texts]
        chosen = elected(answers)
        if chosen is None:
            return 0, {"share": 0.0}
        return chosen, {"share": answers.count(answers[chosen]) / self.samples}


@strategy(paper="2402.05120")
class AgentForest(_Samples):
    """Sample a model several times and return the answer most like all others, the first of equals.

    `utility`: how alike two texts are (see `mbr`); the paper sums BLEU. A greedy request is sampled at `temperature`.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        samples: Annotated[int, Range(1, 10000)] = 10,
        temperature: Annotated[float, Range(0.01, 100)] = 1.0,
        utility: Literal[
            "bertscore", "bleu", "chrf", "embedding", "rouge_l", "tfidf",
            "unigram_f1", "unigram_precision", "unigram_recall",
        ] = "bleu",
    ) -> None:  # fmt: skip
        super().__init__(model, samples, temperature)
        self.utility = utility
        self.compare = utility_named(utility)
        self.name = f"agent_forest({model.name})"

    def pick(self, texts: Sequence[str]) -> tuple[int, dict[str, object]]:
        """The number of the answer most like all others, the first of equals."""
        return consensus(self.compare(texts)), {}
