"""Names and passwords written into addresses, and secrets in their queries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span

USER = re.compile(r"(?<=://)[^\s/@:]{1,256}:[^\s/@]{1,256}(?=@)")
QUERY = re.compile(
    r"(?<=[?&;])(?:api_?key|key|token|access_token|secret|password|passwd|pwd|sig|signature)=([^&\s#]{1,1024})",
    re.IGNORECASE,
)


@recogniser(paper="RFC 3986, user information")
class UrlCredentials:
    """`name:password` before the host of an address, and values of keys such as `token` in its query."""

    def find(self, text: str) -> Iterator[Span]:
        for match in USER.finditer(text):
            yield Span(match.start(), match.end(), "CREDENTIALS", 80)
        for match in QUERY.finditer(text):
            yield Span(match.start(1), match.end(1), "CREDENTIALS", 80)
