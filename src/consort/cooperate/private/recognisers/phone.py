"""Telephone numbers: international ones, and national ones whose groups show that they are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, digits, matches

PATTERN = re.compile(
    r"(?<![\w.])(?:\+|00)[ ]?\d(?:[ ().\u2010-\u2015/-]{0,2}\d){6,14}(?!\d)"
    r"|(?<![\w.])\(?0?\d{2,5}\)?[ .\u2010-\u2015/-]\d{3,4}(?:[ .\u2010-\u2015-]\d{2,5}){1,3}(?![\w])"
    r"|(?<!\d)1[3-9]\d{9}(?!\d)"
)


def is_number(value: str) -> bool:
    return 7 <= len(digits(value)) <= 15


@recogniser(paper="ITU-T E.164")
class Phone:
    """Telephone numbers of 7 to 15 digits, with a country code or in groups."""

    def find(self, text: str) -> Iterator[Span]:
        return matches(PATTERN, text, "PHONE", 20, is_number)
