"""A language model as judge: it is asked for points from 1 to `points` (single-answer grading, 2306.05685)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.core.types import Prompt, Sampling, Usage
from consort.models.base import LanguageModel
from consort.models.cached.model import text_of
from consort.models.judges import judge

TEMPLATE = (
    "Judge how well the answer below serves the request. Say one number from 1 (not at all) to {points} (perfectly), "
    "and nothing else.\n\nRequest:\n{prompt}\n\nAnswer:\n{answer}\n\nNumber:"
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@judge(paper="2306.05685")
class LlmJudge:
    """Ask a language model how good an answer is; the first number in its range that it says is the answer's reward.

    `template` has {prompt}, {answer} and, if it likes, {points}. A judgement without such a number counts as 0, less
    than any. It is asked greedily, so that the same answer is always worth the same.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        points: Annotated[int, Range(2, 1000)] = 10,
        template: str = "",
        max_tokens: Annotated[int, Range(1, 100000)] = 16,
    ) -> None:
        self.model, self.points, self.template, self.max_tokens = model, points, template, max_tokens
        self.wording = template or TEMPLATE
        for name in ("prompt", "answer"):
            if "{" + name + "}" not in self.wording:
                raise BadParameter(f"has no {{{name}}}", field="template", hint=f"say where it goes: {{{name}}}")
        self.name = self.judged_by = model.name

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return (self.model,)

    def open(self) -> None:
        """Nothing has to be read before it is asked."""

    def rewards(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], Usage]:
        """The points of each answer, and what judging them took."""
        asked = [self._asked(text_of(prompt), answer) for answer in answers]
        said = self.model.generate(asked, Sampling(max_tokens=self.max_tokens)) if asked else []
        usage = sum((one for c in said for one in (c.cost.values() or [c.usage])), Usage())
        return [self._points(c.text) for c in said], usage

    def _asked(self, prompt: str, answer: str) -> str:
        values = {"prompt": prompt, "answer": answer, "points": str(self.points)}
        return re.sub(r"\{(\w+)\}", lambda found: values.get(found.group(1), found.group(0)), self.wording)

    def _points(self, text: str) -> float:
        numbers = (float(number) for number in NUMBER.findall(text))
        return next((number for number in numbers if 1 <= number <= self.points), 0.0)
