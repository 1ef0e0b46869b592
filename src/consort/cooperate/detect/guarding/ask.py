"""Another model is asked in the place of one whose answer is in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consort.cooperate.detect import remedy
from consort.cooperate.detect.guarding.remedy import Doubtful, Judge, Remedied
from consort.core.types import Sampling
from consort.models.base import LanguageModel
from consort.models.cost import cost_of


@remedy()
class Ask:
    """The answer of `model`; with `judged` only where it is doubted less than the one that it would stand for."""

    name = "ask"

    def __init__(self, model: LanguageModel, *, judged: bool = False) -> None:
        self.model, self.judged = model, judged

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return (self.model,)

    def treat(
        self, doubtful: Sequence[Doubtful], model: Any, judge: Judge, sampling: Sampling, threshold: float
    ) -> list[Remedied]:
        prompts = [row.prompt for row in doubtful]
        answers = self.model.generate(prompts, sampling)
        costs = [cost_of(self.model, answer) for answer in answers]
        if not self.judged:
            note = f"asked {self.model.name}"
            return [Remedied(answer, note, cost=cost) for answer, cost in zip(answers, costs, strict=True)]
        found = []
        for row, answer, cost, (_, finding) in zip(doubtful, answers, costs, judge(prompts, answers), strict=True):
            before = 1.0 if row.finding.doubt is None else row.finding.doubt
            better = finding.doubt is not None and finding.doubt < before
            note = f"asked {self.model.name}" if better else f"kept: {self.model.name}'s answer is doubted as much"
            found.append(Remedied(answer if better else None, note, finding, cost))
        return found
