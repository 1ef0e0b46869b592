"""A cascade: ask the models in order, stop at the first that is confident (FrugalGPT, 2305.05176, section 3).

The paper's scorer is a trained text classifier; here a model's own token probabilities are the score.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from consort.core.counted import counted
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import PerModel, Range
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.answers.confidence import Confidence, confidences_of
from consort.ensemble.calls import Ledger, Outcome, ask, streamed_or_failed
from consort.ensemble.confidences.mean_probability import MeanProbability
from consort.models.base import LanguageModel
from consort.models.cost import distinct

log = logging.getLogger(__name__)


@strategy(
    paper="2305.05176",
    ends=("threshold", 0.0, 1.0),
    exempt={
        "order_of_members_is_free": "models are asked in order until one is confident",
        "a_failed_member_is_named": "a model after one that is confident is never asked",
    },
)
class Cascade:
    """Ask models in order until one is confident of its answer; the last one's answer is always taken.

    A model that fails is passed over and named; where the last one fails, the most confident of the others' answers
    stands, the later of equals.

    `threshold`: an answer is taken if its confidence is at least this; one number, or one for each model (the last is
    not used). `confidence` (`consort methods --kind confidence`): the geometric mean of the token probabilities (the
    default, `mean_probability`), the least of them, a quantile, their product, or what a detector leaves undoubted. The
    cost is that of all models asked, a detector's among them; `details` has `answered_by`, the `confidence` of
    each model asked, `asked`, and `failed` with reasons.
    Raises Unsupported for a model, other than the last, that does not tell log-probabilities that are asked for.
    """

    streams: ClassVar[str] = "accepted"

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        threshold: PerModel[Annotated[float, Range(0, 1)]] = 0.5,
        confidence: Confidence | None = None,
    ) -> None:
        self.models, self.threshold, self.confidence = tuple(models), threshold, confidence
        if not self.models:
            raise BadParameter("no models", field="models", hint="give at least one")
        self.sure_of = confidence or MeanProbability()
        self.thresholds = _thresholds(threshold, len(self.models))
        for model in self.models[:-1]:
            if not hasattr(self.sure_of, "of") and not getattr(model, "gives_logprob", True):
                raise _silent(model)
        self.labels = distinct([m.name for m in self.models])
        self.name = f"cascade({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    @property
    def gives_logprob(self) -> bool:
        return all(getattr(model, "gives_logprob", True) for model in self.models)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        rows = [_Row(prompt) for prompt in prompts]
        for level, model in enumerate(self.models):
            pending = [row for row in rows if row.answer is None]
            places = [i for i, row in enumerate(rows) if row.answer is None]
            outcomes = ask(model, [row.prompt for row in pending], sampling.of_rows(places))
            self._weigh(pending, level, outcomes)
        return [self._completion(row) for row in rows]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        """The first answer that is accepted, at once; of the last model, pieces as they come."""
        row = _Row(prompt)
        for level, model in enumerate(self.models[:-1]):
            self._weigh([row], level, ask(model, [prompt], sampling))
            if row.answer is not None:
                break
        else:
            outcome = yield from streamed_or_failed(self.models[-1], prompt, sampling, cancel)
            self._weigh([row], len(self.models) - 1, [outcome])
            if not isinstance(outcome, Exception):
                return self._completion(row)
        found = self._completion(row)
        if found.text:
            yield found.text
        return found

    def _weigh(self, rows: Sequence[_Row], level: int, outcomes: Sequence[Outcome]) -> None:
        """Enter what a model said to prompts, and take its answers if it is sure of them, or the last."""
        label, model, last = self.labels[level], self.models[level], level == len(self.models) - 1
        said = [row.ledger.enter(label, model, outcome) for row, outcome in zip(rows, outcomes, strict=True)]
        present = [(row, answer) for row, answer in zip(rows, said, strict=True) if answer is not None]
        sure, judging = confidences_of(self.sure_of, [row.prompt for row, _ in present], [a for _, a in present])
        for (row, answer), one, cost in zip(present, sure, judging, strict=True):
            row.ledger.costs.append((self, cost))
            row.enter(label, answer, one, taken=last or (one is not None and one >= self.thresholds[level]))
        unsure = sure.count(None)
        if unsure and not last:
            what = "%s: %d of %d answers tell no probability: the next model is asked"
            log.warning(what, self.name, unsure, len(present))

    def _completion(self, row: _Row) -> Completion:
        answer = row.answer or row.best
        return row.ledger.completion(self, answer, answered_by=row.answered_by, confidence=row.confidence)


@dataclass(slots=True)
class _Row:
    """A prompt on its way through the cascade."""

    prompt: Prompt
    ledger: Ledger = field(default_factory=Ledger)
    answer: Completion | None = None
    best: Completion | None = None
    """The answer that stands if no later one is taken."""
    answered_by: str = ""
    confidence: dict[str, float] = field(default_factory=dict)

    def enter(self, label: str, answer: Completion, sure: float | None, *, taken: bool) -> None:
        """An answer, and whether it is the one."""
        highest = max(self.confidence.values(), default=None)
        if sure is not None:
            self.confidence[label] = sure
        if taken or highest is None or (sure is not None and sure >= highest):
            self.best, self.answered_by = answer, label
        if taken:
            self.answer = answer


def _thresholds(threshold: float | Sequence[float], models: int) -> list[float]:
    given = list(threshold) if isinstance(threshold, Sequence) else [threshold] * models
    if len(given) != models:
        hint = f"give one for all, or {models}"
        raise BadParameter(
            f"{counted(len(given), 'value')} for {counted(models, 'model')}", field="threshold", hint=hint
        )
    return given


def _silent(model: LanguageModel) -> Unsupported:
    hint = "put it last, or take a model that tells log-probabilities"
    return Unsupported(f"{model.name} does not tell how probable its answer is", field="models", hint=hint)
