"""P(True): the model is shown an answer and asked whether it is true (Kadavath et al., 2207.05221, section 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.asking import filled, quoted, template_of
from consort.cooperate.detect.base import Judging, with_costs
from consort.core.errors import Unsupported
from consort.models.base import LanguageModel
from consort.models.cost import scored
from consort.models.detecting import Case, Finding

TEMPLATE = (
    "Question: {prompt}\n{ideas}Possible answer:\n{answer}\nIs the possible answer:\n (A) True\n (B) False\n"
    "The possible answer is:"
)


@detector(paper="2207.05221", example={"model": "letters", "options": ["a", "b"], "template": "a {answer}"})
class P_True(Judging):
    """1 - P(True) / (P(True) + P(False)) of the two `options` after the question, as the model's log-likelihoods say.

    With samples in the case they stand before the answer as brainstormed ideas (the paper's section 3.3). `template`
    has {answer}, and may have {prompt}, {ideas} and {source}. `raw` is P(True). Raises Unsupported for a model without
    log-likelihoods.
    """

    def __init__(
        self, model: LanguageModel, *, template: str = "", options: Sequence[str] = (" (A)", " (B)"),
    ) -> None:  # fmt: skip
        self.model, self.template, self.options = model, template, tuple(options)
        self.wording = template_of(template, TEMPLATE, "answer")
        if not hasattr(model, "score"):
            raise Unsupported("has no log-likelihoods", field=model.name, hint="selfcheck_prompt asks any model")

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        asked = [self._asked(case) for case in cases]
        likelihoods, _, cost = scored(self.model, [(text, option) for text in asked for option in self.options])
        found = []
        for i in range(len(cases)):
            true, false = likelihoods[2 * i : 2 * i + 2]
            raw = 1 / (1 + math.exp(min(700.0, false - true)))
            found.append(Finding(1 - raw, raw))
        return with_costs(found, cost)

    def _asked(self, case: Case) -> str:
        ideas = "".join(f"An idea:\n{quoted(sample)}\n" for sample in case.samples)
        answer = quoted(case.answer) if not self.template else case.answer
        return filled(self.wording, prompt=case.prompt, answer=answer, ideas=ideas, source=case.source)
