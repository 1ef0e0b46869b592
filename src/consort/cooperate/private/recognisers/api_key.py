"""Keys of services: by their known beginnings, or because they look drawn at random."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, matches
from consort.core.params import Range

KNOWN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:sk-|pk-|rk_|sk_live_|sk_test_|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA|AIza|"
    r"ya29\.|hf_|npm_|pypi-|SG\.|key-|eyJ)[\w.\-/+=]{10,}",
    re.ASCII,
)
LONG = re.compile(r"(?<![A-Za-z0-9_/+-])[A-Za-z0-9_+/=-]{20,}")
BLOCK = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z0-9 ]*KEY[A-Z ]*-----|\Z)", re.DOTALL
)
HEXADECIMAL = re.compile(r"[0-9a-f-]+|[0-9A-F-]+")
DIGITS = re.compile(r"\d{32,}")
HEXADECIMAL_SHARE = 1 / 2
"""How random hexadecimal digits must look, to others: a key has up to 4 bits a digit, its letters as codes about 2."""

LONGEST_WORD = 24
"""Letters of a word in capitals; more are a base32 key."""


def entropy(value: str) -> float:
    """Bits a character, by how often each occurs.

    >>> entropy("aabb")
    1.0
    """
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


@recogniser(paper="known prefixes; Shannon entropy")
class ApiKey:
    """Keys with a known beginning, blocks of private keys, and words of 20 characters or more with `bits` of entropy
    each (half of that if hexadecimal) and digits among the letters, or cases mixed as nobody writes.
    """

    def __init__(self, *, bits: Annotated[float, Range(0, 8)] = 3.5) -> None:
        self.bits = bits

    def find(self, text: str) -> Iterator[Span]:
        yield from matches(BLOCK, text, "KEY", 75)
        yield from matches(KNOWN, text, "KEY", 70)
        yield from matches(LONG, text, "KEY", 10, self._is_random)

    def _is_random(self, value: str) -> bool:
        has_both = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
        wanted = self.bits * (HEXADECIMAL_SHARE if HEXADECIMAL.fullmatch(value) else 1)
        return (has_both or _is_jumbled(value) or DIGITS.fullmatch(value) is not None) and entropy(value) >= wanted


def _is_jumbled(value: str) -> bool:
    """Whether cases change as often as in drawn letters, not as in words joined with capitals, or no word is so long.

    >>> _is_jumbled("TlxqnrDKSylEKOEQkeIpDHah"), _is_jumbled("getElementsByTagNameAndClass")
    (True, False)
    """
    bare = value.rstrip("=")
    if bare.isalpha() and bare.isupper() and len(bare) >= LONGEST_WORD:
        return True
    pairs = list(pairwise(value))
    changes = sum(a.isupper() != b.isupper() for a, b in pairs)
    return 4 * changes >= len(pairs) and 4 * sum(map(str.isupper, value)) >= len(value)
