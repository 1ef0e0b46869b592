"""A circuit breaker: an endpoint that fails again and again is left alone for a while."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class Breaker:
    """Open for `cooldown_s` after `patience` requests in a row have failed with all their retries; safe for threads."""

    def __init__(self, patience: int, cooldown_s: float) -> None:
        self.patience, self.cooldown_s = patience, cooldown_s
        self._failures, self._open_until, self._lock = 0, 0.0, Lock()

    def left(self, clock: Callable[[], float]) -> float:
        """Seconds for which the endpoint is still left alone; 0 where it may be asked."""
        with self._lock:
            return max(0.0, self._open_until - clock())

    def note(self, good: bool, clock: Callable[[], float]) -> None:
        """Take note of a success, or of one more fault in a row."""
        with self._lock:
            self._failures = 0 if good else self._failures + 1
            if self._failures >= self.patience:
                self._failures, self._open_until = 0, clock() + self.cooldown_s
