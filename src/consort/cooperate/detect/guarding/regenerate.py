"""The model is asked again, and the least doubted of its answers is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from consort.cooperate.detect import remedy
from consort.cooperate.detect.guarding.cases import STEP
from consort.cooperate.detect.guarding.remedy import Doubtful, Judge, Remedied
from consort.core.params import Range
from consort.core.types import Completion, Sampling, Usage, add_cost
from consort.models.cost import cost_of
from consort.models.detecting import Finding


@remedy()
class Regenerate:
    """Up to `attempts` more answers at `temperature`; an answer below the threshold ends the search.

    Of all answers, the first among them, the least doubted is given.
    """

    name = "regenerate"

    def __init__(
        self, *, attempts: Annotated[int, Range(1, 1000)] = 3, temperature: Annotated[float, Range(0.01, 100)] = 0.7,
    ) -> None:  # fmt: skip
        self.attempts, self.temperature = attempts, temperature

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return ()

    def treat(
        self, doubtful: Sequence[Doubtful], model: Any, judge: Judge, sampling: Sampling, threshold: float
    ) -> list[Remedied]:
        best: list[tuple[Completion, Finding]] = [(row.answer, row.finding) for row in doubtful]
        costs: list[Mapping[str, Usage]] = [{} for _ in doubtful]
        for number in range(1, self.attempts + 1):
            left = [i for i, (_, finding) in enumerate(best) if _doubt(finding) > threshold]
            if not left:
                break
            prompts = [doubtful[i].prompt for i in left]
            seeds = tuple((sampling.seeds[i] if sampling.seeds else sampling.seed) + 31 * STEP * number for i in left)
            warm = replace(sampling, seeds=seeds, temperature=sampling.temperature or self.temperature)
            answers = model.generate(prompts, warm)
            for i, answer, (_, finding) in zip(left, answers, judge(prompts, answers), strict=True):
                costs[i] = add_cost(costs[i], cost_of(model, answer))
                if _doubt(finding) < _doubt(best[i][1]):
                    best[i] = (answer, finding)
        return [_remedied(row, *one, cost) for row, one, cost in zip(doubtful, best, costs, strict=True)]


def _doubt(finding: Finding) -> float:
    return 1.0 if finding.doubt is None else finding.doubt


def _remedied(row: Doubtful, answer: Completion, finding: Finding, cost: Mapping[str, Usage]) -> Remedied:
    if answer is row.answer:
        return Remedied(None, "kept: no other answer is doubted less", cost=cost)
    return Remedied(answer, "regenerated", finding, cost)
