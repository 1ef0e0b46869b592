"""English endings, cut: plurals alone (Harman 1991, the S-stemmer), or all that Porter's algorithm (1980) knows."""

from __future__ import annotations

import re
from functools import lru_cache

_MEASURE = re.compile(r"(?:[aeiouY]+)(?:[^aeiouY]+)")
_SECOND = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_THIRD = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_FOURTH = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip


def stem(word: str) -> str:
    """A plural as its singular.

    >>> [stem(w) for w in ("queries", "houses", "glass", "corpus")]
    ['query', 'house', 'glass', 'corpus']
    """
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us")):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    return word[:-1]


@lru_cache(maxsize=1 << 17)
def stem_english(word: str) -> str:
    """Porter's stem of a word in lower case; words with other letters than a to z stay as they are.

    >>> [stem_english(w) for w in ("relational", "hopping", "generalizations", "sky", "agreed")]
    ['relat', 'hop', 'gener', 'sky', 'agre']
    """
    if len(word) < 3 or not (word.isascii() and word.isalpha()):
        return word
    return _fifth(_fourth(_replaced(_replaced(_first(word), _SECOND), _THIRD)))


def _marked(part: str) -> str:
    """The letters with each y that is a vowel (one after a consonant) as Y."""
    return re.sub("(?<=[^aeiouy])y", "Y", part)


def _measure(part: str) -> int:
    """How many times vowels are followed by consonants: m of the paper."""
    return len(_MEASURE.findall(_marked(part)))


def _has_vowel(part: str) -> bool:
    return bool(re.search("[aeiouY]", _marked(part)))


def _double(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and word[-1] not in "aeiou"


def _short(word: str) -> bool:
    """Ends in consonant, vowel, consonant, the last not w, x or y: *o of the paper."""
    return bool(re.search("[^aeiouY][aeiouY][^aeiouYwxy]$", _marked(word)))


def _first(word: str) -> str:
    """Plurals, -ed and -ing (steps 1a, 1b), final y (1c)."""
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        word = word[:-1] if _measure(word[:-3]) > 0 else word
    else:
        ending = next((e for e in ("ed", "ing") if word.endswith(e)), "")
        if ending and _has_vowel(word[: -len(ending)]):
            word = _mended(word[: -len(ending)])
    return word[:-1] + "i" if word.endswith("y") and _has_vowel(word[:-1]) else word


def _mended(word: str) -> str:
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _double(word) and word[-1] not in "lsz":
        return word[:-1]
    return word + "e" if _measure(word) == 1 and _short(word) else word


def _replaced(word: str, endings: dict[str, str]) -> str:
    """The longest of the endings replaced, where enough of the word stands before it (steps 2 and 3)."""
    for ending in sorted(endings, key=len, reverse=True):
        if word.endswith(ending):
            rest = word[: -len(ending)]
            return rest + endings[ending] if _measure(rest) > 0 else word
    return word


def _fourth(word: str) -> str:
    for ending in sorted(_FOURTH, key=len, reverse=True):
        if word.endswith(ending):
            rest = word[: -len(ending)]
            return rest if _measure(rest) > 1 and (ending != "ion" or rest.endswith(("s", "t"))) else word
    return word


def _fifth(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        if _measure(rest) > 1 or (_measure(rest) == 1 and not _short(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
