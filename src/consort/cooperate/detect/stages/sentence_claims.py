"""Every sentence is a claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consort.cooperate.detect.sentences import sentences
from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.work import Claim, Place, Work, unspent
from consort.core.types import Usage


@stage()
class SentenceClaims:
    """The sentences of an answer, questions left out. An answer without sentences has no claims."""

    place: Place = "decompose"

    def run(self, work: Sequence[Work]) -> list[Work]:
        return [
            one.with_claims([Claim(s.text, s.start, s.end) for s in sentences(one.case.answer) if s.text[-1] != "?"])
            for one in work
        ]

    def spent(self) -> Mapping[str, Usage]:
        return unspent()
