"""A source in chunks of whole sentences, and the matrix of scores between chunks and an answer's sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from consort.cooperate.detect.base import parts_of
from consort.cooperate.detect.sentences import Sentence, sentences
from consort.models.detecting import Case, PairScorer

Unit = Literal["sentences", "paragraphs", "words"]


@dataclass(frozen=True, slots=True)
class Matrix:
    """E[i, j] are the three probabilities of chunk i (premise) and sentence j (hypothesis) of one case."""

    chunks: list[str]
    parts: list[Sentence]
    scores: Float[np.ndarray, "chunk sentence 3"]


def matrices(
    cases: Sequence[Case], nli: PairScorer, unit: Unit, *, words: int = 350, uneven: bool = False
) -> list[Matrix]:
    """The matrix of each case; all pairs of all cases are scored in one call."""
    cut = [(chunks_of(case.source, unit, words=words, uneven=uneven), parts_of(case)) for case in cases]
    premises = [chunk for chunks, parts in cut for chunk in chunks for _ in parts]
    hypotheses = [part.text for chunks, parts in cut for _ in chunks for part in parts]
    scores, at, found = nli.score(premises, hypotheses), 0, []
    for chunks, parts in cut:
        size = len(chunks) * len(parts)
        found.append(Matrix(chunks, parts, scores[at : at + size].reshape(len(chunks), len(parts), 3)))
        at += size
    return found


def chunks_of(source: str, unit: Unit, *, words: int = 350, uneven: bool = False) -> list[str]:
    """The chunks of a source, at least one.

    words: whole sentences, packed greedily to at most `words` words (a longer sentence is a chunk of its own);
    `uneven` divides their number by the number of chunks that words would make, as released code of AlignScore does.
    """
    parts = [s.text for s in sentences(source)] or [source]
    if unit == "sentences":
        return parts
    if unit == "paragraphs":
        return [p.strip() for p in source.split("\n\n") if p.strip()] or [source]
    if uneven:
        count = sum(len(part.split()) for part in parts) // words + 1
        each = max(1, len(parts) // count)
        return [" ".join(parts[i : i + each]) for i in range(0, len(parts), each)]
    return packed_to(parts, words)


def packed_to(parts: Sequence[str], words: int) -> list[str]:
    """Parts joined in order into chunks of at most `words` words."""
    found: list[list[str]] = []
    size = math.inf
    for part in parts:
        n = len(part.split())
        if size + n > words:
            found.append([])
            size = 0
        found[-1].append(part)
        size += n
    return [" ".join(chunk) for chunk in found]
