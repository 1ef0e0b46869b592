"""How little detectors doubt the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.core.errors import BadParameter
from consort.core.journal import key_of
from consort.data.task import Task
from consort.models.detecting import Case, Detector, Finding
from consort.search.utilities import utility
from consort.search.utilities.answers import AnswerObjective, on_answers


@utility(example={"detectors": ["ngram_precision"]})
class Undoubted:
    """The mean of 1 - doubt over a model's answers, in [0, 1], by one detector or several.

    `several` detectors are combined to their mean or the least trusting one. `by` the answer's doubt or its most
    doubted sentence's. The source is the prompt. An answer of which nothing can be said counts 0, an empty one too.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        *,
        several: Literal["mean", "min"] = "mean",
        by: Literal["answer", "sentence"] = "answer",
    ) -> None:
        self.detectors, self.several, self.by = tuple(detectors), several, by
        if not self.detectors:
            raise BadParameter("no detectors", field="detectors", hint="give at least one")
        for one in self.detectors:
            if set(one.needs) - {"prompt", "source"}:
                hint = "one that works from the prompt, a source or a model"
                raise BadParameter(f"{one.name} needs {' and '.join(one.needs)}", field="detectors", hint=hint)

    def on(self, task: Task, *, split: str = "dev", limit: int | None = None, seed: int = 0) -> AnswerObjective:
        name = key_of([[(one.name, _options(one)) for one in self.detectors], self.several, self.by])
        return on_answers(name, self.values, (0.0, 1.0), task, split=split, limit=limit, seed=seed)

    def values(self, prompts: Sequence[str], answers: Sequence[str], tokens: Sequence[int]) -> list[float]:
        """What each answer is worth."""
        cases = [Case(answer, prompt, prompt) for prompt, answer in zip(prompts, answers, strict=True)]
        if all(not answer.strip() for answer in answers):
            return [0.0] * len(answers)
        found = [one.detect(cases) for one in self.detectors]
        rows = [[self._trust(findings[i]) for findings in found] for i in range(len(cases))]
        return [min(row) if self.several == "min" else sum(row) / len(row) for row in rows]

    def _trust(self, finding: Finding) -> float:
        known = [span.doubt for span in finding.spans if span.doubt is not None]
        doubt = max(known) if self.by == "sentence" and known else finding.doubt
        return 0.0 if doubt is None else 1 - doubt


def _options(detector: Detector) -> dict[str, str]:
    """What a detector was made with, as text: searches are kept apart by it."""
    plain = (str, int, float, bool)
    named = {key: getattr(value, "key", getattr(value, "name", None)) for key, value in vars(detector).items()}
    return {
        key: str(named[key] or value) for key, value in vars(detector).items() if named[key] or isinstance(value, plain)
    }
