"""A model that a detector watches over: what it doubts is withheld, asked again, repaired, or asked of another."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from consort.cooperate.detect import guard
from consort.cooperate.detect.guarding.cases import case_of, with_samples
from consort.cooperate.detect.guarding.remedy import Doubtful, Remedied, Remedy
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling, Usage, add_cost
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, joined
from consort.models.detecting import Case, Detector, Finding

log = logging.getLogger(__name__)


@guard(example={"detector": "length", "then": "abstain"})
class Guarded:
    """Answers of `model`; where `detector` doubts one by more than `threshold`, `then` is done about it.

    `then` (`consort methods --kind remedy`): abstain, regenerate, repair, or `ask: {model: …}`. A detector that needs
    samples gets `samples` more answers of the model at `temperature`, or one of each of `others`, where they are given.
    What has to do with a source takes the answer's evidence (`augmented: …`), else the prompt. An answer of which
    nothing can be said is left as it is, and so told. `details["guard"]` has doubt, spans, evidence and what was done;
    the cost is that of all models asked, the detector's own too.
    """

    def __init__(
        self,
        model: LanguageModel,
        detector: Detector,
        *,
        then: Remedy | None = None,
        threshold: Annotated[float, Range(0, 1)] = 0.5,
        samples: Annotated[int, Range(1, 1000)] = 5,
        temperature: Annotated[float, Range(0.01, 100)] = 1.0,
        others: Sequence[LanguageModel] = (),
    ) -> None:
        from consort.cooperate.detect.guarding.abstain import Abstain

        self.model, self.detector, self.then, self.threshold = model, detector, then, threshold
        self.samples, self.temperature, self.others = samples, temperature, tuple(others)
        self.remedy: Remedy = then or Abstain()
        self.name = f"guarded({model.name})"

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return (self.model, *self.others, *self.remedy.members)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        answers = self.model.generate(prompts, sampling)
        judged, costs = self._judge(prompts, answers, sampling)
        doubted = [i for i, (_, f) in enumerate(judged) if f.doubt is not None and f.doubt > self.threshold]
        rows = [Doubtful(prompts[i], answers[i], *judged[i]) for i in doubted]
        extra: list[Mapping[str, Usage]] = []

        def again(asked: Sequence[Prompt], given: Sequence[Completion]) -> list[tuple[Case, Finding]]:
            found, more = self._judge(asked, given, sampling)
            extra.extend(more)
            return found

        treated = self.remedy.treat(rows, self.model, again, sampling.of_rows(doubted), self.threshold) if rows else []
        done = dict(zip(doubted, treated, strict=True))
        shared = add_cost(*extra)
        found = []
        for i, (answer, (_, finding)) in enumerate(zip(answers, judged, strict=True)):
            costs_of = [(self.model, cost_of(self.model, answer)), (self, costs[i])]
            if i in done:
                costs_of.append((self, done[i].cost))
            if doubted and i == doubted[0]:
                costs_of.append((self, shared))
            found.append(self._completion(answer, finding, done.get(i), costs_of))
        unknown = sum(f.doubt is None for _, f in judged)
        if unknown:
            log.warning("%s: of %d of %d answers nothing can be said; they stay", self.name, unknown, len(answers))
        return found

    def _judge(
        self, prompts: Sequence[Prompt], answers: Sequence[Completion], sampling: Sampling
    ) -> tuple[list[tuple[Case, Finding]], list[Mapping[str, Usage]]]:
        """A case and a finding for each answer, and what samples and detector cost."""
        cases = [case_of(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        costs: list[Mapping[str, Usage]] = [{} for _ in cases]
        if "samples" in self.detector.needs:
            asked: Sequence[Any] = self.others or (self.model,)
            count = 1 if self.others else self.samples
            cases, costs = with_samples(
                asked, prompts, cases, sampling, samples=count, temperature=self.temperature
            )  # fmt: skip
        found = detected(self.detector, cases)
        costs = [add_cost(cost, finding.cost) for cost, finding in zip(costs, found, strict=True)]
        return list(zip(cases, found, strict=True)), costs

    def _completion(
        self,
        answer: Completion,
        finding: Finding,
        done: Remedied | None,
        costs: Sequence[tuple[Any, Mapping[str, Usage]]],
    ) -> Completion:
        kept = answer if done is None or done.answer is None else done.answer
        told: dict[str, Any] = {
            "doubt": finding.doubt,
            "done": "kept" if done is None else done.note,
            "spans": tuple(told_of(answer.text, finding)),
            "notes": finding.notes,
        }
        if kept is not answer:
            told["was"] = answer.text
            told["doubt_after"] = None if done is None or done.finding is None else done.finding.doubt
        details = {**answer.details, **kept.details, "guard": told}
        return replace(kept, cost=joined(self, list(costs)), details=details)


def detected(detector: Detector, cases: Sequence[Case]) -> list[Finding]:
    """The findings; where no case can be judged, that is told of each, for a guard must not fail its model."""
    from consort.core.errors import BadData, EnvironmentFailure

    try:
        return detector.detect(cases) if cases else []
    except (BadData, EnvironmentFailure) as fault:
        log.warning("%s cannot judge: %s", detector.name, fault)
        return [Finding(None, notes=(str(fault),)) for _ in cases]


def told_of(text: str, finding: Finding) -> list[dict[str, Any]]:
    """The spans of a finding as plain values, with their text."""
    return [
        {
            "text": text[span.start : span.end],
            "doubt": span.doubt,
            "evidence": [{"text": quote.text, "source": quote.source, "score": quote.score} for quote in span.evidence],
        }
        for span in finding.spans
    ]
