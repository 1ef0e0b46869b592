"""An answer strategy: the median of the numbers that models answer."""

from __future__ import annotations

from collections.abc import Sequence

from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.candidates import gather
from consort.ensemble.calls import checked_members
from consort.ensemble.readings.numeric import Numeric
from consort.models.base import LanguageModel


@strategy()
class Middle:
    """Ask all models and return the answer whose number is the median of all, the first of equals."""

    def __init__(self, models: Sequence[LanguageModel]) -> None:
        self.models, self.labels = checked_members(models)
        self.name = f"middle({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        found = []
        for candidates in gather(self.models, self.labels, prompts, sampling):
            read = [Numeric()(text) for text in candidates.texts]
            numbers = sorted(float(number) for number in read if number is not None)
            median = numbers[len(numbers) // 2] if numbers else None
            best = next((i for i, number in enumerate(read) if number is not None and float(number) == median), 0)
            found.append(candidates.completion(self, best))
        return found
