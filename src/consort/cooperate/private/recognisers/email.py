"""E-mail addresses, also where the at sign is spaced, spelled or encoded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, matches

SIGNS = r"\s@,;:<>()\[\]{}\"`|\\/=&?!*^~«»“”„‘’。、"
LOCAL = rf"(?:(?<![^{SIGNS}'])[^{SIGNS}'][^{SIGNS}]*|\"[^\"\n@]{{1,64}}\")"
LABEL = rf"[^{SIGNS}'.#%+_]"
AT = r"[ \t]{0,2}(?:@|%40|&#64;|\\u0040|[(\[{]at[)\]}])[ \t]{0,2}"
DOT = r"[ \t]?(?:\.|[(\[{]dot[)\]}])[ \t]?"
TOP = rf"[^\W\d_]{LABEL}{{1,62}}"
PATTERN = re.compile(rf"{LOCAL}{AT}(?:{LABEL}{{1,63}}{DOT}){{1,8}}{TOP}", re.IGNORECASE)
SPOKEN = r"(?: dot |[ ]?[(\[{]dot[)\]}][ ]?)"
SPOKEN_LOCAL = rf"(?<![^{SIGNS}'])(?:{LABEL}{{1,64}}{SPOKEN}){{0,4}}[^{SIGNS}]{{1,64}}"
SPELLED = re.compile(rf"{SPOKEN_LOCAL}(?: at |{AT})(?:{LABEL}{{1,63}}{SPOKEN}){{1,8}}{TOP}", re.IGNORECASE)


@recogniser(paper="RFC 5322")
class Email:
    """E-mail addresses, in any script: `@`, `(at)`, `%40`, or spelled "at" and "dot"."""

    def find(self, text: str) -> Iterator[Span]:
        yield from matches(PATTERN, text, "EMAIL", 50)
        yield from matches(SPELLED, text, "EMAIL", 50)
