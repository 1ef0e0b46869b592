"""Internet addresses, of version 4 and 6."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span, matches

PATTERN = re.compile(
    r"(?<![A-Za-z0-9_.])(?:\d{1,3}\.){3}\d{1,3}(?![A-Za-z0-9_]|\.\d)"
    r"|(?<![A-Za-z0-9_:])(?:[0-9a-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f]{0,4})(?![A-Za-z0-9_:])",
    re.IGNORECASE,
)


def is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return len(value) > 2


@recogniser(paper="RFC 791, RFC 4291")
class IpAddress:
    """Addresses of machines on the internet."""

    def find(self, text: str) -> Iterator[Span]:
        return matches(PATTERN, text, "IP", 30, is_address)
