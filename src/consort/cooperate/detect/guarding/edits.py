"""Edits of sentences by what the evidence says: words that differ, and how much of a text an edit changes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

TOKEN = re.compile(r"\w+|[^\w\s]")
NEGATIONS = frozenset({"not", "no", "never", "n't"})


def distance(a: str, b: str) -> int:
    """Levenshtein distance in characters."""
    if len(a) < len(b):
        a, b = b, a
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def preservation(before: str, after: str) -> float:
    """max(0, 1 - distance / length of the text before): 1 of a text that is unchanged (RARR, section 4)."""
    if before == after:
        return 1.0
    return max(0.0, 1 - distance(before, after) / max(1, len(before)))


def within(before: str, after: str, most: float) -> bool:
    """Whether an edit changes at most the share `most` of a text."""
    return distance(before, after) <= most * max(1, len(before))


def proposals(sentence: str, evidence: str) -> Iterator[str]:
    """Sentences that differ from `sentence` by one span, put in from the evidence, or by a negation; nearest first.

    A span of the evidence is a run of words that the sentence does not have, put in for such a run of the sentence
    where the words around both agree best; then every other pair of such runs, and a negation left out or put in.
    """
    own, other = list(TOKEN.finditer(sentence)), [m[0] for m in TOKEN.finditer(evidence)]
    words = [m[0] for m in own]
    seen = {sentence}
    spans = _differing(words, other)
    new = _differing(other, words)
    ranked = sorted(
        (-_around(words, span, other, run), span[1] - span[0] + run[1] - run[0], span, run)
        for span in spans
        for run in new
    )
    for _, _, (a, b), (c, d) in ranked:
        made = sentence[: own[a].start()] + " ".join(other[c:d]) + sentence[own[b - 1].end() :]
        if made not in seen:
            seen.add(made)
            yield made
    for made in _negated(sentence, own):
        if made not in seen:
            seen.add(made)
            yield made


def _differing(words: list[str], others: list[str], most: int = 3) -> list[tuple[int, int]]:
    """Runs of at most `most` words that the other text does not have, and each of their words alone."""
    known = {w.lower() for w in others}
    absent = [w.lower() not in known and w.lower() not in NEGATIONS and w[0].isalnum() for w in words]
    found = []
    for size in range(1, most + 1):
        found += [(i, i + size) for i in range(len(words) - size + 1) if all(absent[i : i + size])]
    return found


def _around(words: list[str], span: tuple[int, int], other: list[str], run: tuple[int, int]) -> float:
    """How well what stands around two runs agrees, and whether both are figures, names, or equally long."""
    same = float(words[span[0]].isdigit() == other[run[0]].isdigit())
    same += float(words[span[0]][0].isupper() == other[run[0]][0].isupper()) / 2
    same += float(span[1] - span[0] == run[1] - run[0]) / 2
    near = _at(words, span[0] - 1) == _at(other, run[0] - 1), _at(words, span[1]) == _at(other, run[1])
    before = difflib.SequenceMatcher(None, _lower(words[: span[0]][-3:]), _lower(other[: run[0]][-3:])).ratio()
    after = difflib.SequenceMatcher(None, _lower(words[span[1] :][:3]), _lower(other[run[1] :][:3])).ratio()
    longer = span[1] - span[0] + run[1] - run[0] - 2
    return same + sum(near) + (before + after) / 2 - longer / 4


def _at(words: list[str], place: int) -> str:
    """The word there; the ends of two texts are alike."""
    return words[place].lower() if 0 <= place < len(words) else ""


def _lower(words: list[str]) -> list[str]:
    return [word.lower() for word in words]


def _negated(sentence: str, own: list[re.Match[str]]) -> Iterator[str]:
    """The sentence without its negation, or with one behind each form of to be, to have and to do."""
    for match in own:
        if match[0].lower() in NEGATIONS:
            yield (sentence[: match.start()].rstrip() + sentence[match.end() :]).strip()
    if not any(match[0].lower() in NEGATIONS for match in own):
        for match in own:
            if match[0].lower() in ("is", "are", "was", "were", "has", "had", "have", "does", "did", "do"):
                yield sentence[: match.end()] + " not" + sentence[match.end() :]
