"""HTTP/1.1 by uvicorn and h11, with a bound on how long the head of a request may take."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from consort.server.limits import Limits


def protocol(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol class with these limits: a connection whose request's head is not whole in time is closed."""

    class Timed(H11Protocol):
        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._begin()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete):
                self._begin()
            else:
                self._end()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._end()

        def _begin(self) -> None:
            if self.timer is None:
                self.timer = self.loop.call_later(limits.head_s, self._late)

        def _end(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

        def _late(self) -> None:
            self.timer = None
            if not self.transport.is_closing():
                self.transport.close()

    return Timed
