"""Numbers of payment cards, by their checksum."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, digits, matches

PATTERN = re.compile(r"(?<!\d)\d(?:[ .\u2010-\u2015-]{0,2}\d){12,18}(?!\d)")


def luhn(value: str) -> bool:
    """Whether every second digit doubled, and all summed, ends in 0.

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (True, False)
    """
    numbers = [int(d) for d in digits(value)]
    doubled = [n if place % 2 == 0 else sum(divmod(2 * n, 10)) for place, n in enumerate(reversed(numbers))]
    return 13 <= len(numbers) <= 19 and sum(doubled) % 10 == 0 and any(numbers)


@recogniser(paper="ISO/IEC 7812 (Luhn)")
class Card:
    """Card numbers of 13 to 19 digits whose checksum holds, in groups or not."""

    def find(self, text: str) -> Iterator[Span]:
        return matches(PATTERN, text, "CARD", 60, luhn)
