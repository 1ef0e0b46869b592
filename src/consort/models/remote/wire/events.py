"""Event streams: from bytes to the data of events, by the line ends of the protocol only (CR, LF, CRLF)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator

from consort.models.remote.wire.values import Broken, json_of

DONE = "[DONE]"
MAX_LINE = 2**24
"""Longest line, in bytes, that is read."""

_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class Lines:
    """Bytes as they come, as lines without their ends. Raises Broken for one that is too long."""

    def __init__(self) -> None:
        self.kept, self.after_return = bytearray(), False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that a chunk brings to their end."""
        rest = chunk[1:] if self.after_return and chunk.startswith(b"\n") else chunk
        self.after_return = chunk.endswith(b"\r") if chunk else self.after_return
        first, *others = _END.split(rest)
        self.kept += first
        for line in (*others, None):
            if len(self.kept) > MAX_LINE:
                raise Broken(f"a line of the stream has more than {MAX_LINE} bytes")
            if line is not None:
                yield bytes(self.kept)
                self.kept = bytearray(line)

    def end(self) -> Iterator[bytes]:
        """The last line, where nothing ended it."""
        if self.kept:
            yield bytes(self.kept)


class Events:
    """Lines as they come, as the data of events. Raises Broken for what is not UTF-8."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.begun = False

    def feed(self, line: bytes) -> Iterator[str]:
        """The data of the event that a line ends; comments and other fields are passed over."""
        content = line if self.begun else line.removeprefix(_BOM)
        self.begun = True
        if not content:
            yield from self.end()
            return
        field, _, value = content.partition(b":")
        if field == b"data":
            self.data.append(value.removeprefix(b" "))

    def end(self) -> Iterator[str]:
        """The data of the last event, where no empty line ended it."""
        data, self.data = self.data, []
        yield from _whole(data)


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends. Raises Broken for one that is too long."""
    lines = Lines()
    for chunk in chunks:
        yield from lines.feed(chunk)
    yield from lines.end()


def events_of(lines: Iterable[bytes]) -> Iterator[str]:
    """The data of each event; comments and other fields are passed over. Raises Broken for what is not UTF-8."""
    events = Events()
    for line in lines:
        yield from events.feed(line)
    yield from events.end()


async def data_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of each event of a stream that is waited for."""
    lines, events = Lines(), Events()
    async for chunk in chunks:
        for line in lines.feed(chunk):
            for data in events.feed(line):
                yield data
    for line in lines.end():
        for data in events.feed(line):
            yield data
    for data in events.end():
        yield data


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
