"""Code of the user's, run inside ours: whatever it raises becomes one error that names it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from consort.core.errors import BadData, ConsortError
from consort.core.visible import visible

MOST = 300
"""Characters of a message that are repeated."""


@contextmanager
def users_code(where: str, hint: str) -> Iterator[None]:
    """Within the block, an exception of any kind is a BadData with `where` as its field, SystemExit too.

    A KeyboardInterrupt is left as it is where the person at the keyboard asked for it, and only there. Errors of
    consort's own pass.
    """
    pressed: list[int] = []
    with _watched(pressed):
        try:
            yield
        except ConsortError:
            raise
        except BaseException as fault:
            if pressed:
                raise
            raise BadData(f"raised {told(fault)}", field=visible(where), hint=hint) from fault


def told(fault: BaseException) -> str:
    """An exception in one line: its type and what it says, as it may be shown."""
    try:
        says = str(fault)
    except Exception:
        says = "(its message cannot be read)"
    shown = visible(" ".join(says[:MOST].split()))
    name = visible(type(fault).__name__)
    return f"{name}: {shown}" if shown else name


@contextmanager
def _watched(pressed: list[int]) -> Iterator[None]:
    """Within the block, an interrupt from outside is put down in `pressed` before it is raised."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
