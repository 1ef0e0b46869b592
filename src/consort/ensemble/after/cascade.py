"""A cascade: ask the models in order, stop at the first that is confident (FrugalGPT, 2305.05176, section 3).

The paper's scorer is a trained text classifier; here a model's own token probabilities are the score.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from consort.core.counted import counted
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import PerModel, Range
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.ensemble.after import strategy
from consort.ensemble.answers.confidence import Confidence, confidences_of
from consort.ensemble.calls import streamed
from consort.ensemble.confidences.mean_probability import MeanProbability
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, distinct, joined

log = logging.getLogger(__name__)


@strategy(
    paper="2305.05176",
    ends=("threshold", 0.0, 1.0),
    exempt={
        "order_of_members_is_free": "models are asked in order until one is confident",
        "a_failed_member_is_named": "a model that fails is not known to be confident: the failure is raised",
    },
)
class Cascade:
    """Ask models in order until one is confident of its answer; the last one's answer is always taken.

    `threshold`: an answer is taken if its confidence is at least this; one number, or one for each model (the last is
    not used). `confidence` (`consort methods --kind confidence`): the geometric mean of the token probabilities (the
    default, `mean_probability`), the least of them, a quantile, their product, or what a detector leaves undoubted. The
    cost is that of all models asked, a detector's among them; `details` has `answered_by` and the `confidence` of each
    model asked.
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
            pending = [i for i, row in enumerate(rows) if row.answer is None]
            asked = [rows[i].prompt for i in pending]
            answers = model.generate(asked, sampling.of_rows(pending)) if pending else []
            sure, judging = confidences_of(self.sure_of, asked, answers)
            for row, answer, one, cost in zip((rows[i] for i in pending), answers, sure, judging, strict=True):
                row.costs += [(model, cost_of(model, answer)), (self, cost)]
                self._judge(row, level, answer, one)
            unsure = sure.count(None)
            if unsure and level < len(self.models) - 1:
                what = "%s: %d of %d answers tell no probability: the next model is asked"
                log.warning(what, self.name, unsure, len(answers))
        return [self._completion(row) for row in rows]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        """The first answer that is accepted, at once; of the last model, pieces as they come."""
        row = _Row(prompt)
        for level, model in enumerate(self.models[:-1]):
            (answer,) = model.generate([prompt], sampling)
            self._weigh(row, level, answer)
            if row.answer is not None:
                if answer.text:
                    yield answer.text
                return self._completion(row)
        answer = yield from streamed(self.models[-1], prompt, sampling, cancel)
        self._weigh(row, len(self.models) - 1, answer)
        return self._completion(row)

    def _weigh(self, row: _Row, level: int, answer: Completion) -> None:
        (sure,), (judging,) = confidences_of(self.sure_of, [row.prompt], [answer])
        row.costs += [(self.models[level], cost_of(self.models[level], answer)), (self, judging)]
        self._judge(row, level, answer, sure)

    def _judge(self, row: _Row, level: int, answer: Completion, sure: float | None) -> None:
        last = level == len(self.models) - 1
        if sure is not None:
            row.confidence[self.labels[level]] = sure
        if last or (sure is not None and sure >= self.thresholds[level]):
            row.answer, row.answered_by = answer, self.labels[level]

    def _completion(self, row: _Row) -> Completion:
        answer = row.answer or Completion("")
        details = {**answer.details, "answered_by": row.answered_by, "confidence": row.confidence}
        return replace(answer, cost=joined(self, row.costs), details=details)


@dataclass(slots=True)
class _Row:
    """A prompt on its way through the cascade."""

    prompt: Prompt
    answer: Completion | None = None
    answered_by: str = ""
    confidence: dict[str, float] = field(default_factory=dict)
    costs: list[tuple[Any, Mapping[str, Usage]]] = field(default_factory=list)


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
