"""What a server of a federation takes of anybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from consort.core.binding import bound
from consort.core.params import Range

PART = 5 * 2**20
"""Bytes of one part of a message."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A request may take `request_s` seconds and a part `PART` bytes; an answer may be `most_bytes` in all (None: four
    times what was asked with, and a mebibyte); `connections` are served at once."""

    request_s: Annotated[float, Range(0.1, 3600)] = 30.0
    most_bytes: Annotated[int, Range(1, 1000000000000)] | None = None
    connections: Annotated[int, Range(1, 100000)] = 256


bound(Limits, "limits")
