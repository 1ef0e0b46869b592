"""Bank accounts, by their checksum."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span

PATTERN = re.compile(r"(?<!\w)[A-Z]{2}[ ]?\d{2}(?:[ -]{0,2}[A-Z0-9]){11,30}(?!\w)", re.IGNORECASE)


def is_iban(value: str) -> bool:
    """Whether the number that letters (A is 10) and digits make is 1 modulo 97, its first four moved to the end.

    >>> is_iban("GB82 WEST 1234 5698 7654 32"), is_iban("GB83 WEST 1234 5698 7654 32")
    (True, False)
    """
    bare = re.sub(r"[\s-]", "", value).upper()
    moved = bare[4:] + bare[:4]
    return 15 <= len(bare) <= 34 and moved.isascii() and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


@recogniser(paper="ISO 13616 (mod 97)")
class Iban:
    """International bank account numbers whose checksum holds, in groups or not."""

    def find(self, text: str) -> Iterator[Span]:
        for match in PATTERN.finditer(text):
            # words behind the number may look like more of it: the longest part that holds counts
            for stop in range(match.end(), match.start() + 14, -1):
                ends = stop == len(text) or not (text[stop - 1].isalnum() and text[stop : stop + 1].isalnum())
                if ends and is_iban(text[match.start() : stop]):
                    yield Span(match.start(), stop, "IBAN", 60)
                    break
