"""A detector as a confidence: 1 less its doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from consort.core.types import Completion, Prompt, Usage
from consort.ensemble.confidences import confidence
from consort.models.detecting import Case, Detector
from consort.models.tokens.chats import plain_chat


@confidence(
    example={"detector": "least_probability"},
    exempt={"unknown_probabilities_are_no_fault": "what its detector lacks for every answer is the detector's refusal"},
)
class Undoubted:
    """1 - doubt of an answer by `detector`, whose source is the evidence that its model told of, else the prompt.

    For detectors that work from answer, source and log-probabilities; where one can say nothing, nothing is known.
    """

    def __init__(self, detector: Detector, *, source: Literal["evidence", "prompt"] = "evidence") -> None:
        self.detector, self.source = detector, source

    def __call__(self, answer: Completion) -> float | None:
        return self.of([""], [answer])[0][0]

    def of(
        self, prompts: Sequence[Prompt], answers: Sequence[Completion]
    ) -> tuple[list[float | None], list[Mapping[str, Usage]]]:
        """The confidence of each answer to its prompt, and what the detector's models did for it."""
        cases = [self._case(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        findings = self.detector.detect(cases) if cases else []
        return [None if f.doubt is None else 1 - f.doubt for f in findings], [f.cost for f in findings]

    def _case(self, prompt: Prompt, answer: Completion) -> Case:
        text = prompt if isinstance(prompt, str) else plain_chat(prompt)
        evidence = answer.details.get("evidence", ()) if self.source == "evidence" else ()
        told = "\n\n".join(str(one.get("text", "")) for one in evidence)
        logprobs = answer.details.get("logprobs")
        known = None if logprobs is None else tuple(map(float, logprobs))
        return Case(answer.text, text, told or text, logprobs=known, details=answer.details)
