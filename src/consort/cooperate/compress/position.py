"""Units ranked by where they stand in the text, whatever they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from consort.cooperate.compress.compressor import Job
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.selecting import Scored
from consort.cooperate.compress.units import units_of

Order = Callable[[int], Sequence[int]]
"""A number of units to their order, the most important first."""


def by_position(job: Job, unit: Literal["word", "phrase", "sentence"], order: Order) -> list[Compression]:
    """The units of all texts, taken as one, kept in that order up to the budget; importances run from 1 down to 0."""
    units = [units_of(text, unit) for text in job.texts]
    total = sum(map(len, units))
    importance = [0.0] * total
    for rank, place in enumerate(order(total)):
        importance[place] = 1 - rank / total
    scored, at = [], 0
    for text, spans in zip(job.texts, units, strict=True):
        scored.append(Scored(text, spans, importance[at : at + len(spans)]))
        at += len(spans)
    return job.selected(scored)
