"""Nothing is said in the place of an answer in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consort.cooperate.detect import remedy
from consort.cooperate.detect.guarding.remedy import Doubtful, Judge, Remedied
from consort.core.types import Sampling


@remedy()
class Abstain:
    """`text` in the answer's place; what was withheld is in `details["guard"]["was"]`."""

    name = "abstain"

    def __init__(self, *, text: str = "I do not know.") -> None:
        self.text = text

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return ()

    def treat(
        self, doubtful: Sequence[Doubtful], model: Any, judge: Judge, sampling: Sampling, threshold: float
    ) -> list[Remedied]:
        return [Remedied(replace(row.answer, text=self.text, tokens=(), logprob=None), "abstained") for row in doubtful]
