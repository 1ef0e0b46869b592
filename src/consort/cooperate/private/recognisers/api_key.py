"""Keys of services: by their known beginnings, or because they look drawn at random."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, matches
from consort.core.params import Range

KNOWN = re.compile(
    r"(?<![\w-])(?:sk-|pk-|rk_|sk_live_|sk_test_|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA|AIza|ya29\.|"
    r"hf_|npm_|pypi-|SG\.|key-|eyJ)[\w.\-/+=]{10,}"
)
LONG = re.compile(r"(?<![\w/+-])[A-Za-z0-9_+/=-]{20,512}(?![\w/+-])")


def entropy(value: str) -> float:
    """Bits a character, by how often each occurs.

    >>> entropy("aabb")
    1.0
    """
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


@recogniser(paper="known prefixes; Shannon entropy")
class ApiKey:
    """Keys with a known beginning, and words of 20 characters or more, some digits, with `bits` of entropy each."""

    def __init__(self, *, bits: Annotated[float, Range(0, 8)] = 3.5) -> None:
        self.bits = bits

    def find(self, text: str) -> Iterator[Span]:
        yield from matches(KNOWN, text, "KEY", 70)
        yield from matches(LONG, text, "KEY", 10, self._is_random)

    def _is_random(self, value: str) -> bool:
        mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
        return mixed and entropy(value) >= self.bits
