"""An event loop in a thread of its own: what runs there can be ended at a deadline, whatever it waits for."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
CLOSING_S = 5
"""Of patience with connections that are being closed; many may be at once."""
PATIENCE_S = 0.05
"""How often someone who waits looks whether they have been called off."""


class Loop:
    """Runs coroutines for other threads. When it is let go `at_end` is run, then the loop and its thread end."""

    def __init__(self, at_end: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._thread = threading.Thread(target=_run, args=(loop,), name="consort-remote", daemon=True)
        self._thread.start()
        self.close = weakref.finalize(self, _end, loop, self._thread, at_end)

    def run(self, work: Coroutine[Any, Any, T], gone: Callable[[], bool] | None = None) -> T | None:
        """What `work` returns; None once `gone` says so. An interruption calls the work off."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while not future.done():
                if gone is not None and gone():
                    future.cancel()
                    return None
                wait([future], None if gone is None else PATIENCE_S)
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, at_end: Callable[[], Awaitable[None]]) -> None:
    async def finish() -> None:
        try:
            async with asyncio.timeout(CLOSING_S):
                await at_end()
        except TimeoutError:
            log.debug("connections were not closed within %d s", CLOSING_S)
        finally:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await loop.shutdown_asyncgens()
            loop.stop()

    loop.call_soon_threadsafe(lambda: loop.create_task(finish()))
    if threading.current_thread() is not thread:
        thread.join(2)
