"""Numbers of payment cards, by their checksum."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, digits, matches

GAP = r"[\s._/\u2010-\u2015-]{0,3}"
PATTERN = re.compile(r"(?<!\d)\d(?:[ ._/\u2010-\u2015-]{0,2}\d){12,18}(?!\d)")
GROUPED = re.compile(
    rf"(?<!\d)(?=(\d{{4}}(?:{GAP}\d{{4}}){{2,3}}(?:{GAP}\d{{1,4}})?(?!\d)))"
    rf"|(?<!\d)(?=(\d{{4}}{GAP}\d{{6}}{GAP}\d{{4,5}}(?!\d)))"
)


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
    """Card numbers of 13 to 19 digits whose checksum holds, in groups or not, whatever numbers stand beside them."""

    def find(self, text: str) -> Iterator[Span]:
        yield from matches(PATTERN, text, "CARD", 60, luhn)
        for match in GROUPED.finditer(text):
            start, stop = match.span(match.lastindex or 0)
            while stop - start >= 13 and not luhn(text[start:stop]):
                stop = start + len(re.sub(r"\D*\d+\Z", "", text[start:stop]))
            if stop - start >= 13:
                yield Span(start, stop, "CARD", 60)
