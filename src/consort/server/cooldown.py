"""A member that fails again and again is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock


@dataclass(slots=True)
class Cooldown:
    """Out for `seconds` after `patience` failures in a row; safe for threads."""

    patience: int = 3
    seconds: float = 30.0
    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    until: float = 0.0
    lock: Lock = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.lock = Lock()

    def left(self) -> float:
        """Seconds for which the member is still left alone."""
        with self.lock:
            return max(0.0, self.until - self.clock())

    def note(self, good: bool) -> None:
        with self.lock:
            self.failures = 0 if good else self.failures + 1
            if self.failures >= self.patience:
                self.failures, self.until = 0, self.clock() + self.seconds
