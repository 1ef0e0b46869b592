"""A detector as a judge: the less an answer is doubted, the better, so that best_of_n and searches take it."""

from __future__ import annotations

from collections.abc import Sequence

from consort.core.types import Prompt, Usage
from consort.models.detecting import Case, Detector
from consort.models.judges import judge
from consort.models.tokens.chats import plain_chat


@judge(example={"detector": "ngram_precision"})
class Undoubted:
    """1 - doubt, an answer of which nothing can be said 0; the other candidates are its samples.

    The prompt is the source of detectors that need one. With samples this is consensus.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.name = detector.name

    def open(self) -> None:
        """Nothing has to be read before it is asked."""

    def rewards(self, prompt: Prompt, answers: Sequence[str]) -> tuple[list[float], Usage]:
        """A number in [0, 1] for each answer, and what the detector's models did."""
        text = prompt if isinstance(prompt, str) else plain_chat(prompt)
        cases = [
            Case(answer, text, text, tuple(a for k, a in enumerate(answers) if k != i))
            for i, answer in enumerate(answers)
        ]
        findings = self.detector.detect(cases)
        usage = sum((one for finding in findings for one in finding.cost.values()), Usage())
        return [0.0 if f.doubt is None else 1 - f.doubt for f in findings], usage
