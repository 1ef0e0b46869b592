"""E-mail addresses, also with spaces about the at sign, or `(at)`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, matches

PATTERN = re.compile(
    r"[\w.+%'-]{1,64}[ \t]{0,2}(?:@|\(at\)|\[at\])[ \t]{0,2}"
    r"(?:[\w-]{1,63}[ \t]?(?:\.|\(dot\)|\[dot\])[ \t]?){1,8}[^\W\d_]{2,24}",
    re.IGNORECASE,
)


@recogniser(paper="RFC 5322")
class Email:
    """E-mail addresses."""

    def find(self, text: str) -> Iterator[Span]:
        return matches(PATTERN, text, "EMAIL", 50)
