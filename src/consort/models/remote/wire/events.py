"""Event streams: from bytes to the data of events, by the line ends of the protocol only (CR, LF, CRLF)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from consort.models.remote.wire.values import Broken, json_of

DONE = "[DONE]"
MAX_LINE = 2**24
"""Longest line, in bytes, that is read."""

_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends. Raises Broken for one that is too long."""
    kept, after_return = bytearray(), False
    for chunk in chunks:
        rest = chunk[1:] if after_return and chunk.startswith(b"\n") else chunk
        after_return = chunk.endswith(b"\r") if chunk else after_return
        first, *others = _END.split(rest)
        kept += first
        for line in (*others, None):
            if len(kept) > MAX_LINE:
                raise Broken(f"a line of the stream has more than {MAX_LINE} bytes")
            if line is not None:
                yield bytes(kept)
                kept = bytearray(line)
    if kept:
        yield bytes(kept)


def events_of(lines: Iterable[bytes]) -> Iterator[str]:
    """The data of each event; comments and other fields are passed over. Raises Broken for what is not UTF-8."""
    data: list[bytes] = []
    for number, line in enumerate(lines):
        content = line.removeprefix(_BOM) if number == 0 else line
        if not content:
            yield from _whole(data)
            data = []
            continue
        field, _, value = content.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
    yield from _whole(data)


def event(data: str) -> bytes:
    """An event with `data`, as a server writes it."""
    return b"".join(b"data: " + line + b"\n" for line in data.encode().split(b"\n")) + b"\n"


def _whole(data: list[bytes]) -> Iterator[str]:
    """The data of one event: its lines together, or, where only that is JSON, each line by itself."""
    try:
        lines = [line.decode() for line in data]
    except UnicodeDecodeError:
        raise Broken("the stream is not JSON: not valid UTF-8") from None
    joined = "\n".join(lines)
    if len(lines) > 1:
        try:
            json_of(joined)
        except Broken:
            yield from filter(None, lines)
            return
    if joined.strip():
        yield joined
