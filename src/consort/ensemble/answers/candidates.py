"""Candidates for one prompt from several models, as rankers and fusers want them: who failed left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consort.core.errors import BadData
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.answers.samples import draws
from consort.ensemble.calls import Ledger, ask_side_by_side
from consort.ensemble.learning.observations import Observed
from consort.models.base import LanguageModel


@dataclass(slots=True)
class Candidates:
    """The answers to one prompt, each with the label of the model that gave it, and the account of the prompt."""

    prompt: Prompt
    ledger: Ledger = field(default_factory=Ledger)
    labels: list[str] = field(default_factory=list)
    answers: list[Completion] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The answers' texts, in order."""
        return [answer.text for answer in self.answers]

    def first_of_equals(self) -> list[int]:
        """For each candidate the first with the same text: what is equal is looked at once."""
        return [self.texts.index(text) for text in self.texts]

    def completion(self, strategy: object, best: int, **details: object) -> Completion:
        """The completion of candidate `best`. Raises the first model's error where there is no candidate."""
        answer = self.answers[best] if self.answers else None
        label = self.labels[best] if self.labels else ""
        return self.ledger.completion(strategy, answer, answered_by=label, **details)


def gather(
    models: Sequence[LanguageModel],
    labels: Sequence[str],
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    samples: int = 1,
    temperature: float = 0.7,
) -> list[Candidates]:
    """Candidates by prompt: `samples` answers of each model, in order of models."""
    asked, warm = draws(prompts, sampling, samples, temperature)
    found = [Candidates(prompt) for prompt in prompts]
    outcomes = ask_side_by_side([(model, asked, warm) for model in models])
    for label, model, answers in zip(labels, models, outcomes, strict=True):
        for row, candidates in enumerate(found):
            for one in answers[row * samples : (row + 1) * samples]:
                answer = candidates.ledger.enter(label, model, one)
                if answer is not None:
                    candidates.labels.append(label)
                    candidates.answers.append(answer)
    return found


def texts_of(observed: Observed) -> list[list[str]]:
    """Observed answers as texts, what is unknown empty. Raises BadData where none is known."""
    if not observed.answers:
        raise BadData("the answers' texts are not known", field="answers", hint="give them; only qualities are known")
    return [[text or "" for text in row] for row in observed.answers]
