"""A claim is its own query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from consort.cooperate.detect.stages import stage
from consort.cooperate.detect.stages.work import Place, Work, unspent
from consort.core.types import Usage


@stage()
class ClaimQuery:
    """The standalone claim is what is searched for."""

    place: Place = "query"

    def run(self, work: Sequence[Work]) -> list[Work]:
        return [one.with_claims([replace(c, queries=(c.statement,)) for c in one.claims]) for one in work]

    def spent(self) -> Mapping[str, Usage]:
        return unspent()
