"""What the source does to an answer's probability: log p(y | source, prompt) - log p(y | prompt).

The gain that context-aware decoding amplifies (2305.14739), read as evidence that the answer comes from the source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, with_costs
from consort.cooperate.detect.white.probabilities import context_of
from consort.cooperate.detect.white.reading import by_sentence, read_answers
from consort.cooperate.detect.white.shortened import fitting
from consort.core.params import Range
from consort.core.types import add_cost
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding


@detector(
    needs=("source",),
    paper="2305.14739",
    example={"model": "letters"},
    exempt={"a_copy_is_least_doubted": "whether a source helps is the model's affair, and the law's copies nothing"},
)
class ContextChange(Judging):
    """1 / (1 + e^g), g the gain a token in nats: a half where the source makes no difference, less where it helps.

    `of`: the mean over tokens, or the least gain. `raw` is g. A source longer than the model's window is cut to its
    sentences most like the answer (by shared words); `most_words` bounds it for any model.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        of: Literal["mean", "min"] = "mean",
        most_words: Annotated[int, Range(1, 1000000)] = 300,
    ) -> None:
        self.model, self.of, self.most_words = model, of, most_words

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        answers = [case.answer for case in cases]
        kept = [fitting(case, self.model, self.most_words) for case in cases]
        with_source, cost = read_answers(self.model, [context_of(case) for case in kept], answers)
        without, more = read_answers(self.model, [context_of(case, source=False) for case in kept], answers)
        found = []
        for case, one, other in zip(cases, with_source, without, strict=True):
            n = min(len(one.logprobs), len(other.logprobs))
            gains = [a - b for a, b in zip(one.logprobs[-n:], other.logprobs[-n:], strict=True)] if n else [0.0]
            raw = min(gains) if self.of == "min" else math.fsum(gains) / len(gains)
            if n and n == len(one.ends):
                found.append(by_sentence(case, one, [_doubt(g) for g in gains], _doubt(raw), raw))
            else:
                found.append(Finding(_doubt(raw), raw))
        return with_costs(found, add_cost(cost, more))


def _doubt(gain: float) -> float:
    return 1 / (1 + math.exp(max(-700.0, min(700.0, gain))))
