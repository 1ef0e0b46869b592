"""Python code of others, stopped after its time in whatever thread it runs."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class _Stopped(BaseException):
    """Raised by the clock inside the thread that is stopped."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Within the block, Python code of this thread is stopped after some seconds. Raises TimeoutError.

    A call into C is not stopped before it returns.
    """
    running, thread = [True], threading.get_ident()

    def stop() -> None:
        with suppress(IndexError):  # it has ended
            running.pop()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_Stopped))

    clock = threading.Timer(seconds, stop)
    clock.daemon = True
    try:
        clock.start()
        yield
        _end(running)
    except _Stopped:
        raise TimeoutError(f"took longer than {seconds:g} s") from None
    except BaseException:
        with suppress(_Stopped):
            _end(running)
        raise
    finally:
        clock.cancel()


def _end(running: list[bool]) -> None:
    """Be quicker than the clock, or wait for what it has raised here."""
    try:
        running.pop()
    except IndexError:
        while True:
            time.sleep(0.001)
