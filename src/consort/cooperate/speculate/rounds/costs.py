"""What drafting and verifying cost, in plain steps: every time is divided by that of plain steps taken near it.

A machine's speed drifts, and contexts grow. Seconds kept from different moments would compare a draft of then with a
target of now; ratios do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

_KEPT, _STEPS = 9, 5
"""Ratios of each kind, and plain steps, that are remembered."""
_SURE = 3
"""Measurements after which a draft length is believed to be dearer than shorter ones say."""


@dataclass(slots=True)
class Costs:
    """Costs in one size of batch, medians of what was measured lately. Seconds go in, plain steps come out."""

    step: float = 0.0
    """Seconds of a plain step; nothing else is entered before one is known."""
    c: float = 0.0
    """Cost of drafting a token; 0 before any is measured."""
    plain: deque[float] = field(default_factory=lambda: deque(maxlen=_STEPS))
    drafts: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    rounds: dict[int, deque[float]] = field(default_factory=dict)
    _lines: list[tuple[int, float]] = field(default_factory=lambda: [(0, 1.0)])

    def stepped(self, seconds: float) -> None:
        """A plain step took so long."""
        self.plain.append(seconds)
        self.step = _middle(self.plain)

    def drafted(self, seconds: float, tokens: int) -> None:
        """Drafting took so long for drafts of at most so many tokens."""
        if tokens and self.step > 0:
            self.drafts.append(seconds / tokens / self.step)
            self.c = _middle(self.drafts)

    def verified(self, seconds: float, gamma: int) -> None:
        """All of a round but its drafting took so long, drafts being at most `gamma` tokens long."""
        if gamma and self.step > 0:
            self.rounds.setdefault(gamma, deque(maxlen=_KEPT)).append(seconds / self.step)
            self._lines = self._known()

    def v(self, gamma: int) -> float:
        """Cost of a round of `gamma` but for its drafting: on the lines through what was measured; 1 before that."""
        return on_lines(self._lines, gamma)

    def _known(self) -> list[tuple[int, float]]:
        """Points that rise from (0, 1); a length measured rarely is not believed to be dearer than the others say."""
        found = [(gamma, _middle(ratios)) for gamma, ratios in sorted(self.rounds.items())]
        sure = [(0, 1.0), *((gamma, v) for gamma, v in found if len(self.rounds[gamma]) >= _SURE)]
        if len(sure) > 1:
            found = [(g, v if len(self.rounds[g]) >= _SURE else min(v, on_lines(sure, g))) for g, v in found]
        points = [(0, 1.0)]
        for gamma, v in found:
            points.append((gamma, max(v, points[-1][1])))
        return points


def on_lines(points: Sequence[tuple[int, float]], gamma: int) -> float:
    """The value at `gamma` on the lines between points in order; beyond the last, the last line goes on."""
    if len(points) == 1:
        return points[0][1]
    at = 1
    while at + 1 < len(points) and points[at][0] < gamma:
        at += 1
    (low, a), (high, b) = points[at - 1], points[at]
    return a + (b - a) * (gamma - low) / (high - low)


def _middle(values: Sequence[float]) -> float:
    """The median; of an even number the lower of the two in the middle."""
    return sorted(values)[(len(values) - 1) // 2]
