"""Names and passwords written into addresses, and secrets in their queries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span

USER = re.compile(r"(?<=://)[^\s/?#\"'<>]{1,1024}(?=@)")
QUERY = re.compile(
    r"(?<=[?&;#])(?:[\w.-]{0,64}(?:key|key_?id|token|secret|passw(?:or)?d|pwd|signature|credential|auth|session|"
    r"session_?id)|sig|jwt|sid|code|otp|ticket)=([^&\s#\"'<>]+)",
    re.IGNORECASE,
)


@recogniser(paper="RFC 3986, user information")
class UrlCredentials:
    """What stands before the host of an address, and values of keys such as `token` in its query or fragment."""

    def find(self, text: str) -> Iterator[Span]:
        for match in USER.finditer(text):
            yield Span(match.start(), match.end(), "CREDENTIALS", 80)
        for match in QUERY.finditer(text):
            yield Span(match.start(1), match.end(1), "CREDENTIALS", 80)
