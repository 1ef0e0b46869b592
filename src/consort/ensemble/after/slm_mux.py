"""SLM-MUX (2510.05077): several small models answer several times each, and the most consistent of them speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.reading import Reading
from consort.ensemble.answers.samples import draws
from consort.ensemble.answers.voting import elected
from consort.ensemble.calls import Ledger, ask_side_by_side, checked_members
from consort.ensemble.readings.exact import Exact
from consort.models.base import LanguageModel


@strategy(
    paper="2510.05077",
    example={"samples": 1},
    exempt={
        "order_of_members_is_free": "of models that agree with themselves alike the more accurate, then first, speaks"
    },
)
class SlmMux:
    """Ask each model several times and return the majority answer of the model that agrees most with itself.

    A model's confidence is the share of its samples that give its own majority answer; samples that cannot be read
    count as disagreement. `accuracy`: each model's dev accuracy, which decides between equals (default: the order of
    models). With one sample the most accurate model that can be read answers. `answer` as for `vote`; `details` has
    each model's `confidence`.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        samples: Annotated[int, Range(1, 10000)] = 3,
        temperature: Annotated[float, Range(0.01, 100)] = 0.7,
        accuracy: Sequence[float] | None = None,
        answer: Reading | None = None,
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.samples, self.temperature, self.accuracy = samples, temperature, accuracy
        self.answer, self.read = answer, answer or Exact()
        if accuracy is not None and len(accuracy) != len(self.models):
            message = f"{counted(len(accuracy), 'value')} for {counted(len(self.models), 'model')}"
            raise BadParameter(message, field="accuracy", hint="one for each model")
        self.name = f"slm_mux({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        asked, warm = draws(prompts, sampling, self.samples, self.temperature)
        outcomes = ask_side_by_side([(model, asked, warm) for model in self.models])
        found = []
        for row in range(len(prompts)):
            ledger = Ledger()
            own = slice(row * self.samples, (row + 1) * self.samples)
            said = [
                [ledger.enter(label, model, h) for h in answers[own]]
                for label, model, answers in zip(self.labels, self.models, outcomes, strict=True)
            ]
            best, sample, shares = self._speaker(said)
            by_label = dict(zip(self.labels, shares, strict=True))
            found.append(
                ledger.completion(self, said[best][sample], answered_by=self.labels[best], confidence=by_label)
            )
        return found

    def _speaker(self, said: Sequence[Sequence[Completion | None]]) -> tuple[int, int, list[float]]:
        """The model that speaks, which of its samples, and every model's confidence."""
        samples, shares = [], []
        for own in said:
            answers = [None if c is None else self.read(c.text) for c in own]
            chosen = elected(answers)
            shares.append(0.0 if chosen is None else answers.count(answers[chosen]) / len(own))
            samples.append(next((i for i, c in enumerate(own) if c), 0) if chosen is None else chosen)
        known = list(self.accuracy) if self.accuracy is not None else [0.0] * len(said)
        spoke = [any(c is not None for c in own) for own in said]
        best = max(range(len(said)), key=lambda m: (spoke[m], shares[m], known[m], -m))
        return best, samples[best], shares
