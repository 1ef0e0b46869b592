"""Lossless racing: an evaluation stops once nothing that its remaining examples could say would change the search.

Bounds are exact, not statistical: the examples not yet asked are taken to be all right and all wrong. As long as a
point may still be too good to ignore, examples come that the population failed most often, and as long as it may be too
bad, those it failed least; each time as many as it takes at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from consort.search.engine.scores import Outcome
from consort.search.utilities.objective import Objective, Row, bounds

SHARE = 32
"""A portion is at least one example in so many, so that there are not too many small batches."""


@dataclass(slots=True)
class Race:
    """The examples of one point. `limits` is the interval in which its score does not matter; None: ask all at once.

    `order` are the examples, most often failed first.
    """

    objective: Objective
    order: Sequence[int]
    limits: tuple[float, float] | None
    known: dict[int, Row] = field(default_factory=dict)
    first: int = 0
    last: int = 0

    def due(self) -> list[int]:
        """The examples to ask next; none once the score, or that it does not matter, is known."""
        left = len(self.order) - self.first - self.last
        if not left:
            return []
        if self.limits is None or not self.limits[0] <= self.limits[1]:
            self.first += left
            return list(self.order)
        low, high = bounds(self.objective, self.known)
        if low >= self.limits[0] and high <= self.limits[1]:
            return []
        hard = min(left, self._least(high - self.limits[1]))
        easy = min(left - hard, self._least(self.limits[0] - low))
        end = len(self.order) - self.last
        found = [*self.order[self.first : self.first + hard], *self.order[end - easy : end]]
        self.first, self.last = self.first + hard, self.last + easy
        return found

    def _least(self, gap: float) -> int:
        """How many examples it takes at least to close `gap`, each moving a bound by its share of the score."""
        if gap <= 0:
            return 0
        share = max(1, len(self.order) // SHARE)
        span = self.objective.span
        if span is None or getattr(self.objective, "combine", "mean") != "mean":
            return share
        return max(share, ceil(gap * len(self.order) / (span[1] - span[0]) - 1e-6))

    def learn(self, examples: Sequence[int], rows: Sequence[Row]) -> None:
        self.known.update(zip(examples, rows, strict=True))

    def outcome(self) -> Outcome:
        """What has come out."""
        marks = "".join(self._mark(i) for i in range(self.objective.size))
        if len(self.known) == self.objective.size:
            score = self.objective.score([self.known[i] for i in range(self.objective.size)])
            return Outcome(score, score, score, marks)
        low, high = bounds(self.objective, self.known)
        return Outcome((low + high) / 2, low, high, marks)

    def _mark(self, example: int) -> str:
        if example not in self.known:
            return "."
        span = self.objective.span
        return "1" if span is None or 2 * self.known[example][0] > sum(span) else "0"


def hardest_first(failed: Sequence[int], asked: Sequence[int]) -> list[int]:
    """Examples by how often the population failed them, most often first; of equals the earlier one."""
    share = [f / a if a else 0.5 for f, a in zip(failed, asked, strict=True)]
    return sorted(range(len(share)), key=lambda i: (-share[i], i))
