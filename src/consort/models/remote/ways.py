"""Two ways to wait for an endpoint: blocking the thread that asks, or in the event loop that asks.

What is asked and tried again is written once, as coroutines; the blocking way gives them what they await at once.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import cached_property
from threading import Semaphore
from typing import Any, Protocol, TypeVar

from consort.models.remote.clients import Client
from consort.models.remote.loop import Loop

T = TypeVar("T")


class Way(Protocol):
    """How work on the network is waited for, `client` being who does it."""

    @property
    def client(self) -> Client: ...

    async def run(self, work: Coroutine[Any, Any, T], *, counted: bool = False) -> T:
        """What `work` returns; `counted` work waits until there is room for one more."""
        ...

    async def pause(self, seconds: float) -> None: ...

    async def until(self, done: Future[None]) -> None: ...


class Blocking:
    """For threads: the network is worked on in a loop of its own, and whoever asks waits."""

    def __init__(self, client: Callable[[], Client], concurrency: int, sleep: Callable[[float], None]) -> None:
        self._make, self.sleep, self._room = client, sleep, Semaphore(concurrency)

    @cached_property
    def client(self) -> Client:
        return self._make()

    @cached_property
    def loop(self) -> Loop:
        return Loop(self.client.aclose)

    async def run(self, work: Coroutine[Any, Any, T], *, counted: bool = False) -> T:
        if not counted:
            return self.loop.run(work)  # type: ignore[return-value]
        with self._room:
            return self.loop.run(work)  # type: ignore[return-value]

    async def pause(self, seconds: float) -> None:
        self.sleep(seconds)

    async def until(self, done: Future[None]) -> None:
        done.result()


class Here:
    """For coroutines of the event loop that runs."""

    def __init__(self, client: Client, concurrency: int, sleep: Callable[[float], None]) -> None:
        self.client, self.sleep, self._room = client, sleep, asyncio.Semaphore(concurrency)

    async def run(self, work: Coroutine[Any, Any, T], *, counted: bool = False) -> T:
        if not counted:
            return await work
        async with self._room:
            return await work

    async def pause(self, seconds: float) -> None:
        if self.sleep is time.sleep:
            await asyncio.sleep(seconds)
        else:
            self.sleep(seconds)

    async def until(self, done: Future[None]) -> None:
        await asyncio.wrap_future(done)


class Heres:
    """The one of each loop, made at its first use."""

    def __init__(self, client: Callable[[], Client], concurrency: int, sleep: Callable[[float], None]) -> None:
        self._make, self._concurrency, self.sleep = client, concurrency, sleep
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Here] = weakref.WeakKeyDictionary()

    def get(self) -> Here:
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None:
            found = self._made[loop] = Here(self._make(), self._concurrency, self.sleep)
        return found

    async def close(self) -> None:
        """End the connections of this loop."""
        found = self._made.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.client.aclose()


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that awaits only what is there at once."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("waits in a way that blocks nobody")
