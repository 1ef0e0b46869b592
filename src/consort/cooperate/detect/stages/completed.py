"""A claim is what stands before an answer and the answer: for models that complete sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.work import Place, Work, unspent
from consort.core.types import Usage


@stage()
class Completed:
    """The prompt and the claim, joined by a space, with `end` behind them: "the capital of Oru is" and "Lom"."""

    place: Place = "decontextualise"

    def __init__(self, *, end: str = "") -> None:
        self.end = end

    def run(self, work: Sequence[Work]) -> list[Work]:
        return [
            one.with_claims(
                [replace(c, standalone=f"{one.case.prompt} {c.text}".strip() + self.end) for c in one.claims]
            )
            for one in work
        ]

    def spent(self) -> Mapping[str, Usage]:
        return unspent()
