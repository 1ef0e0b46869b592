"""HTTP/1.1 by uvicorn and h11, with a bound on how long the head of a request may take."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from consort.server.http import LEAVING, Leaving
from consort.server.limits import Limits


class HeadsHeld:
    """A transport that keeps the head of an answer until its body comes, or this turn of the loop is over.

    So an answer is one packet, and one call of the system.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop
        self.head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        if self.head:
            self.head, data = b"", self.head + data
        elif data.startswith(b"HTTP/1.1 ") and data[9:10] != b"1":
            self.head = data
            self.loop.call_soon(self.flush)
            return
        if data:
            self.transport.write(data)

    def flush(self) -> None:
        if self.head:
            self.head, head = b"", self.head
            self.transport.write(head)

    def close(self) -> None:
        self.flush()
        self.transport.close()


class Timed(H11Protocol):
    """Closes a connection whose request's head is not whole in time, and tells requests that their client has left."""

    limits: Limits = Limits()
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.leaving = Leaving()
        super().connection_made(HeadsHeld(transport, self.loop))  # type: ignore[arg-type]
        self._begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._mark()
        if self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete):
            self._begin()
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)
        self.leaving.tell()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._mark()
        self._end()

    def _mark(self) -> None:
        """Let the request, whose task runs after this, find the connection's end."""
        if self.scope is not None and self.cycle is not None:
            self.leaving.has_all = not self.cycle.more_body
            cast(dict[str, Any], self.scope)[LEAVING] = self.leaving

    def _begin(self) -> None:
        if self.timer is None:
            self.timer = self.loop.call_later(self.limits.head_s, self._late)

    def _end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _late(self) -> None:
        self.timer = None
        if not self.transport.is_closing():
            self.transport.close()


def protocol(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol class with these limits."""
    return type("Timed", (Timed,), {"limits": limits})
