"""Telephone numbers: international ones, national ones whose groups show that they are, and those said to be some."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, digits, matches

BEFORE, GAP = r"(?<![A-Za-z0-9_.])(?<!\d[/-])", r"[ .\u2010-\u2015-]"
PATTERN = re.compile(
    rf"{BEFORE}(?:\+|00)[ ]?\d(?:[ ().\u2010-\u2015/-]{{0,2}}\d){{6,14}}(?!\d)"
    rf"|{BEFORE}\(?0?\d{{2,5}}\)?[ .\u2010-\u2015/-]\d{{3,5}}(?:{GAP}\d{{2,5}}){{1,3}}(?![\w])"
    rf"|{BEFORE}\(\d{{2,5}}\){GAP}?\d{{3,5}}(?:{GAP}?\d{{3,5}})?(?!\d)"
    rf"|{BEFORE}0\d(?:{GAP}\d\d){{4}}(?!\d)"
    rf"|{BEFORE}[67]\d\d(?:{GAP}\d\d){{3}}(?!\d)"
    rf"|{BEFORE}0\d{{1,5}}[ ]?[/ \u2010-\u2015-][ ]?\d{{3,9}}(?:{GAP}\d{{2,8}}){{0,2}}(?!\d)"
    rf"|{BEFORE}0\d{{1,3}}(?:{GAP}\d{{2,4}}){{2,4}}(?!\d)"
    rf"|{BEFORE}0\d{{8,11}}(?!\d)"
    r"|(?<!\d)1[3-9]\d{9}(?!\d)"
)
DATE = re.compile(r"\d\d?([./-])\d\d?\1(?:19|20)\d\d|(?:19|20)\d\d([./-])\d\d?\2\d\d?")
SAID = re.compile(
    r"(?<![A-Za-z])(?:tel|phone|telephone|mobile|mob|cell|fax|call|sms|whatsapp|telefon|handy|mobil|t[ée]l[ée]phone"
    r"|portable|m[óo]vil|tel[ée]fono|celular|cellulare|telefone|телефон|电话|手机|電話|전화)"
    r"\W{0,3}(?:(?:is|no|nr|number|nummer|ist|me|us|him|her|on|at|to|under|es|est|número|numéro)\b\W{0,3}){0,3}"
    r"([+(]?\d(?:[ ().\u2010-\u2015/-]{0,2}\d){5,14})(?!\d)",
    re.IGNORECASE,
)


def is_number(value: str) -> bool:
    return 7 <= len(digits(value)) <= 15 and not DATE.match(value)


@recogniser(paper="ITU-T E.164")
class Phone:
    """Telephone numbers of 7 to 15 digits, with a country code, in groups, or behind a word such as `phone`."""

    def find(self, text: str) -> Iterator[Span]:
        yield from matches(PATTERN, text, "PHONE", 20, is_number)
        for match in SAID.finditer(text):
            yield Span(match.start(1), match.end(1), "PHONE", 20)
