"""How long the pieces are that an answer copies from its source (density of Grusky et al., 1804.11283)."""

from __future__ import annotations

from collections.abc import Sequence

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, of_sentences, parts_of
from consort.cooperate.detect.words import words_of
from consort.models.detecting import Case, Finding


@detector(needs=("source",), paper="1804.11283")
class CopyLength(Judging):
    """1 less the mean, over the answer's words, of the share of its sentence that the copied piece around a word has.

    Pieces are found greedily from the left, each the longest run of words that the source has (section 3 of the
    paper). A sentence copied whole has doubt 0, one without a word of the source 1. `raw` is the paper's density: the
    mean length, over words, of the piece around each.
    """

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        return [_finding(case) for case in cases]


def _finding(case: Case) -> Finding:
    parts, places = parts_of(case), _places(words_of(case.source))
    doubts, squares, count = [], 0, 0
    for part in parts:
        words = words_of(part.text)
        own = sum(length**2 for length in fragments(words, *places))
        doubts.append(1 - own / len(words) ** 2 if words else 0.0)
        squares, count = squares + own, count + len(words)
    return of_sentences(parts, doubts, raw=squares / count if count else 0.0)


def _places(source: Sequence[str]) -> tuple[Sequence[str], dict[str, list[int]]]:
    places: dict[str, list[int]] = {}
    for i, word in enumerate(source):
        places.setdefault(word, []).append(i)
    return source, places


def fragments(words: Sequence[str], source: Sequence[str], places: dict[str, list[int]]) -> list[int]:
    """Lengths of the pieces of `words` that stand in `source`, taken greedily from the left."""
    found, at = [], 0
    while at < len(words):
        best = 0
        for start in places.get(words[at], ()):
            length = 1
            while (
                at + length < len(words)
                and start + length < len(source)
                and words[at + length] == source[start + length]
            ):
                length += 1
            best = max(best, length)
        if best:
            found.append(best)
        at += max(1, best)
    return found
