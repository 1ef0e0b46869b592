"""The time that a run may take in all, over every start of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

from consort.core.errors import BadParameter

CLOCK: Callable[[], float] = time.monotonic
"""Seconds since some moment."""


class Hours:
    """`limit` hours (None: no bound), of which earlier starts took `before_s` seconds.

    `reserve_s` is kept for the end of the run, `each_s` is what the next candidate is expected to take: search goes on
    while both fit.
    """

    def __init__(self, limit: float | None = None, before_s: float = 0.0) -> None:
        if limit is not None and not 0 < limit < inf:
            raise BadParameter(f"{limit} hours are no time", field="hours", hint="give a number above 0, such as 0.5")
        self.limit, self.before_s = limit, before_s
        self.reserve_s = self.each_s = 0.0
        self._began = CLOCK()

    @property
    def spent_s(self) -> float:
        """Seconds that this start and earlier ones took."""
        return self.before_s + CLOCK() - self._began

    @property
    def left_s(self) -> float:
        """Seconds until the end; less than 0 when it is past."""
        return inf if self.limit is None else 3600 * self.limit - self.spent_s

    @property
    def fits(self) -> bool:
        """Whether one more candidate and the end of the run fit."""
        return self.limit is None or self.left_s >= self.each_s + self.reserve_s
