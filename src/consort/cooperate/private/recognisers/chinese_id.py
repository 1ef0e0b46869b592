"""Chinese identity numbers, by date and checksum."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, digits, matches

PATTERN = re.compile(
    r"(?<!\d)[1-9]\d{5}[ ]?(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ ]?\d{3}[\dXx](?!\w)"
)
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def is_identity(value: str) -> bool:
    """Whether the last character is the weighted sum of the others modulo 11.

    >>> is_identity("11010519491231002X"), is_identity("110105194912310021")
    (True, False)
    """
    bare = value.replace(" ", "")
    total = sum(weight * int(d) for weight, d in zip(WEIGHTS, digits(bare[:17]), strict=True))
    return bare[17].upper() == "10X98765432"[total % 11]


@recogniser(paper="GB 11643-1999")
class ChineseId:
    """Identity numbers of 18 characters whose date and checksum hold."""

    def find(self, text: str) -> Iterator[Span]:
        return matches(PATTERN, text, "ID", 90, is_identity)
