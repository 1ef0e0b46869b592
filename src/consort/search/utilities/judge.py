"""What a language model that is asked for a number says of the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from consort.core.journal import key_of
from consort.core.types import Sampling
from consort.data.task import Task
from consort.models.base import LanguageModel
from consort.search.utilities import utility
from consort.search.utilities.answers import AnswerObjective, on_answers

RATING = re.compile(r"Rating:\s*(\d+(?:\.\d+)?)\s*/\s*10")
QUESTION = (
    "Rate the answer to the question on a scale from 1 to 10. Reply with `Rating: x/10`.\n\n"
    "Question: {prompt}\n\nAnswer: {answer}\n\n"
)


@utility()
class Judge:
    """The mean rating, from 1 to 10, that `model` gives; an answer it does not rate counts 1.

    `template`: the question, with {prompt} and {answer}; empty for consort's own.
    """

    def __init__(self, model: LanguageModel, *, template: str = "") -> None:
        self.model, self.template = model, template

    def on(self, task: Task, *, split: str = "dev", limit: int | None = None, seed: int = 0) -> AnswerObjective:
        """The mean rating on the first `limit` examples of a split."""
        name = key_of([self.model.name, self.template or QUESTION])
        return on_answers(name, self.ratings, (1.0, 10.0), task, split=split, limit=limit, seed=seed)

    def ratings(self, prompts: Sequence[str], answers: Sequence[str], tokens: Sequence[int]) -> list[float]:
        """What the model says of each answer, from 1 to 10."""
        template = self.template or QUESTION
        asked = [template.format(prompt=p, answer=a) for p, a in zip(prompts, answers, strict=True)]
        return [rating(reply.text) for reply in self.model.generate(asked, Sampling(max_tokens=32))]


def rating(reply: str) -> float:
    """The number x in "Rating: x/10", within 1 to 10; 1 where there is none."""
    found = RATING.search(reply)
    return min(10.0, max(1.0, float(found[1]))) if found else 1.0
