"""How undecided a model was while it wrote an answer: the entropy of its next-token distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, with_costs
from consort.cooperate.detect.white.probabilities import context_of
from consort.cooperate.detect.white.reading import by_sentence, read_answers
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding


@detector(example={"model": "letters"})
class TokenEntropy(Judging):
    """H / log V of the model's distribution at each token of the answer, `of` all their mean or the largest.

    The model reads source, prompt and answer; `raw` is in nats.
    """

    def __init__(self, model: LanguageModel, *, of: Literal["mean", "max"] = "mean") -> None:
        self.model, self.of = model, of

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        contexts = [context_of(case) for case in cases]
        reads, cost = read_answers(self.model, contexts, [case.answer for case in cases], entropies=True)
        most = math.log(self.model.tokenizer.vocab_size)  # type: ignore[attr-defined]
        found = []
        for case, read in zip(cases, reads, strict=True):
            values = read.entropies or (0.0,)
            raw = max(values) if self.of == "max" else math.fsum(values) / len(values)
            found.append(by_sentence(case, read, [clipped(h / most) for h in read.entropies], clipped(raw / most), raw))
        return with_costs(found, cost)
