"""Bank accounts, by the length that their country gives them and by their checksum."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span

START = re.compile(r"(?:(?<![A-Z0-9])|(?<=IBAN))[A-Z]{2}[ ]?\d{2}(?=[\s.-]{0,2}[A-Z0-9])", re.IGNORECASE | re.ASCII)
GAP = re.compile(r"[\s.-]{0,2}")
LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
"""Letters and digits of a number, by country; of another country 15 to 34, written without gaps."""


def is_iban(value: str) -> bool:
    """Whether the number that letters (A is 10) and digits make is 1 modulo 97, its first four moved to the end.

    >>> is_iban("GB82 WEST 1234 5698 7654 32"), is_iban("GB83 WEST 1234 5698 7654 32")
    (True, False)
    """
    bare = re.sub(r"[\s.-]", "", value).upper()
    moved = bare[4:] + bare[:4]
    return 15 <= len(bare) <= 34 and moved.isascii() and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


@recogniser(paper="ISO 13616 (mod 97)")
class Iban:
    """International bank account numbers whose checksum holds, in groups or not."""

    def find(self, text: str) -> Iterator[Span]:
        for match in START.finditer(text):
            length = LENGTHS.get(match.group()[:2].upper())
            stop = _end(text, match.start(), length or 34, has_gaps=length is not None)
            if not _is_part(text[stop : stop + 1]) and is_iban(text[match.start() : stop]):
                yield Span(match.start(), stop, "IBAN", 60)


def _end(text: str, at: int, most: int, *, has_gaps: bool) -> int:
    """Where so many letters and digits end that stand together, or in groups."""
    count, stop = 0, at
    while count < most and at < len(text):
        if _is_part(text[at]):
            count, at = count + 1, at + 1
            stop = at
            continue
        gap = GAP.match(text, at) if has_gaps or count < 4 else None
        if not gap or gap.end() == at:
            break
        at = gap.end()
    return stop


def _is_part(letter: str) -> bool:
    return letter.isascii() and letter.isalnum()
