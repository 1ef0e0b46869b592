"""Sentences of several texts as one collection: cut, scored together, and given back text by text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from consort.cooperate.compress.compressor import Job
from consort.cooperate.compress.selecting import Scored
from consort.cooperate.compress.units import units_of

Score = Callable[[Sequence[str]], Sequence[float]]
"""All sentences to how important each is."""


def scored_sentences(job: Job, score: Score, unit: Literal["phrase", "sentence"] = "sentence") -> list[Scored]:
    """The sentences of the job's texts with their importances."""
    units = [units_of(text, unit) for text in job.texts]
    texts = [text[a:b] for text, spans in zip(job.texts, units, strict=True) for a, b in spans]
    scores = iter(float(value) for value in score(texts))
    return [Scored(text, own, [next(scores) for _ in own]) for text, own in zip(job.texts, units, strict=True)]
