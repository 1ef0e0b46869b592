"""Claims that say something that could be wrong: a number, a name, or enough words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.work import Claim, Place, Work, unspent
from consort.cooperate.detect.words import names_of, numbers_of, words_of
from consort.core.types import Usage

OPINION = frozenset(["i", "my", "we", "think", "believe", "hope", "please", "sorry", "thanks"])


@stage()
class WorthChecking:
    """Worth 1 with a number or a name, a half with three words or more that are no opinion, else 0."""

    place: Place = "checkworthy"

    def run(self, work: Sequence[Work]) -> list[Work]:
        return [one.with_claims([replace(c, worth=_worth(c)) for c in one.claims]) for one in work]

    def spent(self) -> Mapping[str, Usage]:
        return unspent()


def _worth(claim: Claim) -> float:
    words = words_of(claim.statement)
    if numbers_of(claim.statement) or names_of(claim.statement):
        return 1.0
    return 0.5 if len(words) >= 3 and not OPINION & set(words) else 0.0
