"""The perplexity of an answer under a model that has not seen the question: how odd it is as a text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, clipped, with_costs
from consort.cooperate.detect.white.reading import by_sentence, read_answers
from consort.models.base import LanguageModel
from consort.models.detecting import Case, Finding


@detector(example={"model": "letters"})
class Perplexity(Judging):
    """1 - 1 / perplexity of the answer alone, without source and prompt; `raw` is the perplexity."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        reads, cost = read_answers(self.model, [""] * len(cases), [case.answer for case in cases])
        found = []
        for case, read in zip(cases, reads, strict=True):
            mean = math.fsum(read.logprobs) / max(1, len(read.logprobs))
            raw = math.exp(min(-mean, 700.0))
            tokens = [clipped(-math.expm1(x)) for x in read.logprobs]
            found.append(by_sentence(case, read, tokens, clipped(-math.expm1(mean)), raw))
        return with_costs(found, cost)
