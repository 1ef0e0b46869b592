"""One way to show progress: a bar on a terminal; where work is long, a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float], None]
Say = Callable[[float, str], None]
EVERY_S = 10.0
"""Seconds between two lines."""


@contextmanager
def track(label: str, total: float | None = None, *, unit: str = "") -> Iterator[Advance]:
    """Within the block, call the yielded function with how much more is done; safe from several threads.

    `unit` "B" shows bytes and a rate. Nothing is drawn unless standard error is a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if unit == "B" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda amount: bar.advance(task, amount)


@contextmanager
def lines(label: str, total: float | None = None) -> Iterator[Say]:
    """Within the block, call the yielded function with how much is done and what there is to say of it.

    Where standard error is no terminal it prints that, and how much time is left of `total`, at most every ten seconds.
    """
    if sys.stderr.isatty():
        yield lambda done, text: None
        return
    began = last = time.monotonic()
    first: float | None = None

    def say(done: float, text: str) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = done if first is None else first
        if now - last < EVERY_S:
            return
        last = now
        left = (
            ""
            if total is None or done <= first
            else f", about {_span((total - done) * (now - began) / (done - first))} left"
        )
        print(f"{label}: {text}{left}", file=sys.stderr, flush=True)

    yield say


def _span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
