"""Who speaks HTTP to an endpoint: httpx, or, for plain http in the event loop that asks, asyncio and h11 alone.

What a gateway adds to an answer is mostly its client's work, and httpx with its layers does several times as much of it
as h11. Where there is TLS the way to the endpoint takes longer than either.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

MOST_HEAD = 100 * 1024
"""Bytes of an answer's head that are read."""
PIECE = 65536
MOST_IDLE = 64
"""Connections that are kept."""


class Response(Protocol):
    """An answer whose body has not been read; header names are in lower case."""

    status_code: int

    @property
    def headers(self) -> Mapping[str, str]: ...

    def aiter_bytes(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class Client(Protocol):
    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Response: ...

    async def aclose(self) -> None: ...


class Httpx:
    """httpx, over the network or over `transport`; redirects are not followed, the environment's proxies not used."""

    def __init__(self, transport: Any, connect_s: float) -> None:
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=MOST_IDLE)
        self._timeout = httpx.Timeout(None, connect=connect_s)
        self._client = httpx.AsyncClient(follow_redirects=False, limits=limits, trust_env=False, transport=transport)

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Response:
        request = self._client.build_request("POST", url, content=content, headers=headers, timeout=self._timeout)
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


class UnreadableAnswer(OSError):
    """What came is no HTTP, or ended too early."""


class DecodingError(UnreadableAnswer):
    """A body is not packed as its head says."""


class ConnectTimeout(OSError):
    """Nobody took the connection in time."""


class Plain:
    """HTTP/1.1 without TLS to the host of one base URL; connections are kept."""

    def __init__(self, base_url: str, connect_s: float) -> None:
        parts = urlsplit(base_url)
        self.host, self.port, self.connect_s = parts.hostname or "", parts.port or 80, connect_s
        self.netloc = parts.netloc.rpartition("@")[2]
        self._idle: list[_Connection] = []

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Response:
        import h11

        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        own = {"host": self.netloc, **headers, "content-length": str(len(content))}
        connection = await self._connected()
        try:
            request = h11.Request(method="POST", target=target, headers=list(own.items()))
            connection.write(request, h11.Data(data=content), h11.EndOfMessage())
            head = await connection.head()
        except BaseException:
            connection.close()
            raise
        return _PlainResponse(self, connection, head)

    async def _connected(self) -> _Connection:
        while self._idle:
            found = self._idle.pop()
            if found.is_open:
                return found
            found.close()
        try:
            async with asyncio.timeout(self.connect_s):
                return _Connection(*await asyncio.open_connection(self.host, self.port))
        except TimeoutError:
            raise ConnectTimeout(self.netloc) from None

    def keep(self, connection: _Connection) -> None:
        if len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    async def aclose(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        for connection in idle:
            with suppress(OSError):
                await connection.writer.wait_closed()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h11

        self.reader, self.writer = reader, writer
        self.protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)

    @property
    def is_open(self) -> bool:
        return not self.reader.at_eof() and not self.writer.is_closing()

    def write(self, *events: Any) -> None:
        self.writer.write(b"".join(self.protocol.send(event) or b"" for event in events))

    async def event(self) -> Any:
        """The next event of the answer. Raises UnreadableAnswer."""
        import h11

        try:
            while (found := self.protocol.next_event()) is h11.NEED_DATA:
                self.protocol.receive_data(await self.reader.read(PIECE))
        except h11.RemoteProtocolError as error:
            raise UnreadableAnswer(str(error)) from None
        return found

    async def head(self) -> Any:
        import h11

        while isinstance(found := await self.event(), h11.InformationalResponse):
            pass
        if not isinstance(found, h11.Response):
            raise UnreadableAnswer("the connection was closed")
        return found

    def is_free(self) -> bool:
        """Whether another request may be sent, after which it is ready for that."""
        import h11

        done = self.protocol.our_state is h11.DONE and self.protocol.their_state is h11.DONE
        if done and self.is_open:
            self.protocol.start_next_cycle()
        return done and self.is_open

    def close(self) -> None:
        self.writer.close()


class _PlainResponse:
    def __init__(self, client: Plain, connection: _Connection, head: Any) -> None:
        self.client, self.connection, self.status_code = client, connection, int(head.status_code)
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        self.is_closed = False

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        import h11

        packed = self.headers.get("content-encoding", "").lower() in ("gzip", "x-gzip")
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if packed else None
        while isinstance(event := await self.connection.event(), h11.Data):
            data = bytes(event.data)
            if unpack is not None:
                try:
                    data = unpack.decompress(data)
                except zlib.error as error:
                    raise DecodingError(str(error)) from None
            if data:
                yield data

    async def aclose(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if self.connection.is_free():
            self.client.keep(self.connection)
        else:
            self.connection.close()
