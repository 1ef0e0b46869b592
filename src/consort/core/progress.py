"""One way to show progress: a bar on a terminal, a line now and then anywhere else, and a file in a run's folder."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError
from consort.core.files import write_json

Advance = Callable[[float], None]
Say = Callable[[float, str], None]
EVERY_S = 10.0
"""Seconds between two lines."""
WRITTEN_EVERY_S = 1.0
"""Seconds between two states of a run's progress file."""
PROGRESS_FILE = "progress.json"


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
    pace = Pace(total)
    last = time.monotonic()

    def say(done: float, text: str) -> None:
        nonlocal last
        pace.reached(done)
        now = time.monotonic()
        if now - last < EVERY_S:
            return
        last = now
        left = pace.left_s
        print(f"{label}: {text}{'' if left is None else f', about {span(left)} left'}", file=sys.stderr, flush=True)

    yield say


class Pace:
    """How fast something goes on: `reached` is told how much is done, of that how much was `known` before."""

    def __init__(self, total: float | None) -> None:
        self.total = total
        self.done = self._known = 0.0
        self._began = time.monotonic()

    def reached(self, done: float, known: float = 0.0) -> None:
        self.done, self._known = done, known

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the pace so far; None where that cannot be told."""
        new = self.done - self._known
        if self.total is None or new <= 0:
            return None
        return max(0.0, self.total - self.done) * (time.monotonic() - self._began) / new


class Watch:
    """How far a run is, for people elsewhere: told on, kept in the run's folder, printed now and then (`watched`)."""

    def __init__(self, folder: Path, verb: str, advance: Callable[[float, float | None], None]) -> None:
        self.path, self._verb, self._advance = folder / PROGRESS_FILE, verb, advance
        self._phase, self._best = "", ("", None)  # type: tuple[str, tuple[str, float | None]]
        self._pace = Pace(None)
        self._began = self._said = time.monotonic()
        self._written = float("-inf")

    def phase(self, name: str, total: float | None = None) -> None:
        """What is done from now on, and how much of it there is."""
        self._phase, self._pace = name, Pace(total)
        self.tell(0.0)

    def tell(self, done: float, *, known: float = 0.0) -> None:
        """How much is done of the phase, of that how much had been `known` before this run began."""
        self._advance(done - self._pace.done, self._pace.total)
        self._pace.reached(done, known)
        now = time.monotonic()
        if now - self._written >= WRITTEN_EVERY_S:
            self._written = now
            self.write()
        if now - self._said >= EVERY_S and not sys.stderr.isatty():
            self._said = now
            print(self.line, file=sys.stderr, flush=True)

    def found(self, name: str, score: float) -> None:
        """The best so far, if it is better than what was the best."""
        if self._best[1] is None or score > self._best[1]:
            self._best = name, score

    @property
    def line(self) -> str:
        """How far it is, in one line."""
        total = self._pace.total
        amount = f"{self._pace.done:g} done" if total is None else f"{self._pace.done:g} of {total:g}"
        name, score = self._best
        best = "" if score is None else f", best so far {score:.4f}" + (f" ({name})" if name else "")
        left = self._pace.left_s
        return f"{self._phase}: {amount}{best}" + ("" if left is None else f", about {span(left)} left")

    def write(self) -> None:
        """Write how far it is to the run's folder, if there is one yet."""
        if not self.path.parent.is_dir():
            return
        name, score = self._best
        value = {
            "verb": self._verb,
            "phase": self._phase,
            "done": self._pace.done,
            "total": self._pace.total,
            "best": None if score is None else {"name": name, "score": score},
            "elapsed_s": round(time.monotonic() - self._began, 1),
            "left_s": None if (left := self._pace.left_s) is None else round(left, 1),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "process": os.getpid(),
        }
        write_json(self.path, value)


@contextmanager
def watched(folder: Path, verb: str) -> Iterator[Watch]:
    """Within the block, what the yielded `Watch` is told can be seen elsewhere; a kill leaves the file."""
    with _bar() as advance:
        watch = Watch(folder, verb, advance)
        try:
            yield watch
        except ConsortError:
            watch.path.unlink(missing_ok=True)  # the error says all
            raise
        except BaseException:
            if watch.path.exists():  # it does not where the run was refused and removed
                with suppress(Exception):
                    watch.write()
            raise
        watch.path.unlink(missing_ok=True)


@contextmanager
def _bar() -> Iterator[Callable[[float, float | None], None]]:
    """A bar on a terminal, called with how much more is done and the total."""
    if not sys.stderr.isatty():
        yield lambda amount, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("working", total=None)
        yield lambda amount, total: bar.update(task, advance=amount, total=total)


def read_progress(folder: Path) -> dict[str, Any]:
    """What a run's folder says of how far it is; empty where it says nothing that can be read."""
    try:
        found = json.loads((folder / PROGRESS_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
