"""How the replicas of a model stand: what each is doing, which of them rest, and what went on to others."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock

from consort.core.errors import ConsortError, Incompatible
from consort.models.remote.model import RemoteModel

SAME = {"model": "answers as", "path": "takes texts at"}
"""What replicas of one model have in common, and how it is said."""


@dataclass(slots=True, eq=False)
class Standing:
    """One replica. `until` is when it may be asked again, by the clock; `moved` are requests that others answered."""

    model: RemoteModel
    in_flight: int = 0
    failures: int = 0
    until: float = 0.0
    moved: int = 0
    fault: ConsortError | None = None
    busy: ConsortError | None = None

    @property
    def url(self) -> str:
        return self.model.base_url

    @property
    def is_out(self) -> bool:
        """Whether it has failed so often in a row that it is asked one request at a time, after a rest."""
        return self.failures >= int(self.model.settings["patience"])

    def is_free(self, now: float, bounded: bool) -> bool:
        """Whether one more request may be sent to it."""
        most = 1 if self.is_out else self.model.concurrency if bounded else self.in_flight + 1
        return self.until <= now and self.in_flight < most


class Board:
    """Who is asked next: the one with the fewest requests under way, of equals the first; safe for threads."""

    def __init__(self, models: Sequence[RemoteModel], clock: Callable[[], float]) -> None:
        self.standings, self.clock = [Standing(model) for model in models], clock
        self._lock, self._waiting = Lock(), list[Future[None]]()

    def take(self, avoided: Container[Standing], *, bounded: bool) -> Standing | Future[None] | float | None:
        """A replica that is not `avoided`, entered as asked once more.

        Where all that could be asked are, something that is done when one may be free; where they wish to be left alone
        (they are busy), for how many seconds; None where all are avoided or out. `bounded` keeps to their concurrency.
        """
        with self._lock:
            now = self.clock()
            left = [one for one in self.standings if one not in avoided]
            free = [one for one in left if one.is_free(now, bounded)]
            if free:
                found = min(free, key=lambda one: one.in_flight)
                found.in_flight += 1
                return found
            well = [one for one in left if not one.is_out]
            if any(one.until <= now for one in well):
                self._waiting.append(Future())
                return self._waiting[-1]
            return min((one.until - now for one in well), default=None)

    def release(self, standing: Standing) -> None:
        """A request to it has ended, in whatever way."""
        with self._lock:
            standing.in_flight -= 1
            waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.set_running_or_notify_cancel():
                one.set_result(None)

    def note_answer(self, standing: Standing) -> None:
        """It has answered. Raises Incompatible where another replica answers as another model."""
        with self._lock:
            standing.failures, standing.until, standing.busy = 0, 0.0, None
            for other in self.standings:
                _check_same(standing, other)

    def note_busy(self, standing: Standing, fault: ConsortError, wait: float) -> None:
        """It is well and wishes to be left alone for `wait` seconds."""
        with self._lock:
            standing.busy = fault
            standing.until = max(standing.until, self.clock() + wait)

    def note_fault(self, standing: Standing, fault: ConsortError, wait: float, *, is_final: bool) -> None:
        """It has failed, once more in a row, or for good; it may ask to be left alone for `wait` seconds."""
        with self._lock:
            patience, cooldown_s = (standing.model.settings[name] for name in ("patience", "cooldown_s"))
            standing.failures = max(standing.failures + 1, int(patience) if is_final else 0)
            standing.fault = fault
            rest = max(wait, float(cooldown_s) if standing.is_out else 0.0)
            standing.until = max(standing.until, self.clock() + rest)

    def note_moved(self, standing: Standing) -> None:
        """A request that it failed was answered by another."""
        with self._lock:
            standing.moved += 1

    def moved(self) -> list[tuple[Standing, int]]:
        """Replicas with how many of their requests were answered by others since this was last asked."""
        with self._lock:
            found = [(one, one.moved) for one in self.standings if one.moved]
            for one, _ in found:
                one.moved = 0
        return found


def _check_same(one: Standing, other: Standing) -> None:
    for name, said in SAME.items():
        here, there = (standing.model.speaker.get(name) for standing in (one, other))
        if here and there and here != there:
            what = f"its replicas are not one model: {other.url} {said} {there!r}, {one.url} {said} {here!r}"
            hint = "name the addresses of one model, and every other model in a reference of its own"
            raise Incompatible(what, field=one.model.name, hint=hint)
