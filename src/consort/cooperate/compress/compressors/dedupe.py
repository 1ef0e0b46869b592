"""Sentences that say again what an earlier one said, across all documents, are dropped (shingles: Broder, 1997)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Budget, Compression
from consort.cooperate.compress.sentence_scores import scored_sentences
from consort.core.params import Range

_WORD = re.compile(r"\w+")


@compressor(paper="Broder 1997")
class Dedupe(Compressor):
    """Drop near copies of earlier sentences: those of whose runs of `size` words more than `similarity` were seen.

    A sentence's importance is how much of it is new, 1 less the largest Jaccard similarity to an earlier one. Under a
    budget in tokens the copies go first, and then what is least new; of equals the later.
    """

    def __init__(
        self,
        *,
        similarity: Annotated[float, Range(0, 1)] = 0.8,
        size: Annotated[int, Range(1, 10)] = 2,
    ) -> None:
        self.similarity, self.size = similarity, size

    @property
    def own_budget(self) -> Budget:
        return Budget(threshold=1 - self.similarity)

    def shorten(self, job: Job) -> list[Compression]:
        return job.selected(scored_sentences(job, lambda sentences: novelty(sentences, self.size)))


def novelty(sentences: Sequence[str], size: int = 2) -> list[float]:
    """1 less the largest Jaccard similarity of each sentence's shingles to those of an earlier sentence.

    >>> novelty(["A dog barks.", "a DOG barks!", "Rain fell."])
    [1.0, 0.0, 1.0]
    """
    holders: dict[tuple[str, ...], list[int]] = {}
    sets: list[frozenset[tuple[str, ...]]] = []
    found = []
    for number, sentence in enumerate(sentences):
        own = frozenset(_shingles(sentence, size))
        shared: dict[int, int] = {}
        for shingle in own:
            for earlier in holders.setdefault(shingle, []):
                shared[earlier] = shared.get(earlier, 0) + 1
            holders[shingle].append(number)
        sets.append(own)
        best = max((n / (len(own) + len(sets[e]) - n) for e, n in shared.items()), default=0.0)
        found.append(1 - best)
    return found


def _shingles(sentence: str, size: int) -> list[tuple[str, ...]]:
    words = _WORD.findall(sentence.lower())
    if len(words) < size:
        return [tuple(words)] if words else []
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
