"""A number of the matrix of likenesses between an answer and its samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from consort.cooperate.detect.base import with_costs
from consort.cooperate.detect.encoder import TextEncoder
from consort.cooperate.detect.sampling.likeness import Matrix, Measure, likeness
from consort.core.errors import BadParameter
from consort.models.detecting import Case, Finding


class Answers:
    """Makes the matrix of each case, the answer first, and pays for what reads the texts."""

    def __init__(self, measure: Measure, nli: Any, encoder: str) -> None:
        if measure == "nli" and nli is None:
            raise BadParameter("the measure nli needs it", field="nli", hint="nli: FOLDER of a checkpoint, or lab:nli")
        self.measure, self.nli, self.encoder = measure, nli if measure == "nli" else None, encoder
        self.reader = TextEncoder(encoder) if measure == "encoder" else None

    def findings(self, cases: Sequence[Case], rule: Callable[[Matrix], Finding]) -> list[Finding]:
        """What `rule` makes of each case's matrix."""
        found = []
        for case in cases:
            texts = [case.answer, *case.samples]
            found.append(rule(likeness(texts, self.measure, self.nli, self.reader)))
        cost = {self.nli.name: self.nli.spent()} if self.nli is not None else {}
        if self.reader is not None:
            cost[f"encoder {self.encoder}"] = self.reader.spent()
        return with_costs(found, cost)
