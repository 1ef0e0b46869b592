"""Words, numbers and names of texts, as the detectors that count them see them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from consort.knowledge.words import UNSPACED

WORD = re.compile(rf"(?=\w)[{UNSPACED}]|[^\W{UNSPACED}]+")
NUMBER = re.compile(rf"(?<![^\W{UNSPACED}])(?<!\.)[-+]?\d[\d,]*(?:\.\d+)?(?![^\W{UNSPACED}])")
FIGURES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
SPELLED = {word: str(i) for i, word in enumerate(FIGURES.split())}
Gram = tuple[str, ...]


def words_of(text: str) -> list[str]:
    """Runs of letters, digits and underscores, in lower case; single letters where no spaces are written.

    >>> words_of("It's 3.5 km – the record!")
    ['it', 's', '3', '5', 'km', 'the', 'record']
    >>> words_of("ダムに8つの門")
    ['ダ', 'ム', 'に', '8', 'つ', 'の', '門']
    """
    return WORD.findall(text.lower())


def ngrams(words: Sequence[str], n: int) -> list[Gram]:
    """All runs of n words."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def counted_ngrams(texts: Iterable[str], n: int) -> Counter[Gram]:
    """How often each run of n words stands in the texts."""
    return Counter(gram for text in texts for gram in ngrams(words_of(text), n))


def numbers_of(text: str) -> list[str]:
    """The numbers of a text as figures, in order; those up to twenty also where they are spelled out."""
    found = [(m.start(), m[0].replace(",", "").lstrip("+")) for m in NUMBER.finditer(text)]
    found += [(m.start(), SPELLED[m[0].lower()]) for m in WORD.finditer(text) if m[0].lower() in SPELLED]
    return [number for _, number in sorted(found)]


def names_of(text: str) -> list[str]:
    """Words that begin with a capital letter and do not begin a sentence, in lower case."""
    found, after_end = [], True
    for match in WORD.finditer(text):
        before = text[: match.start()].rstrip()
        after_end = not before or before[-1] in ".!?:\"“'‘`(…" or text[len(before) : match.start()].count("\n") > 1
        if match[0][0].isupper() and not after_end:
            found.append(match[0].lower())
    return found
