"""How long to draft, and when not to: the draft length of the greatest projected speed-up, from what was measured.

Speed-up of a draft length g over plain decoding, by Leviathan et al. (2211.17192, theorem 3.8) with a measured cost of
verification in place of 1:

    S(g) = (1 - a^(g+1)) / ((1 - a) (g c + v(g)))

a is the acceptance of a token, c the cost of drafting one and v(g) of a target pass over g + 1, both against a target
pass over one token.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_LOG = logging.getLogger("consort.speculate")

_OFF_BELOW, _ON_ABOVE = 1.0, 1.05
_FIRST_PROBE = 64
_ENOUGH = 3.0
"""Weight of tested tokens before which nothing is concluded."""
_KEPT = 9


@dataclass(slots=True)
class Costs:
    """Times of drafting and of rounds: what c and v are estimated from, by the least of the last few of each.

    The least, since whatever else a machine does can only add to a time.
    """

    draft: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    rounds: dict[int, deque[float]] = field(default_factory=dict)

    def drafted(self, seconds: float, tokens: int) -> None:
        """Drafting took so long for drafts of at most so many tokens."""
        if tokens:
            self.draft.append(seconds / tokens)

    def verified(self, seconds: float, gamma: int) -> None:
        """All of a round but its drafting took so long, drafts being at most `gamma` tokens long."""
        self.rounds.setdefault(gamma, deque(maxlen=_KEPT)).append(seconds)

    @property
    def c(self) -> float:
        """Cost of drafting a token; 0 before any is measured."""
        return min(self.draft) / min(self.rounds[0]) if self.draft and 0 in self.rounds else 0.0

    def v(self, gamma: int) -> float:
        """Cost of a round of `gamma`: measured, else on the line through the nearest measured ones; 1 before any is."""
        if 0 not in self.rounds:
            return 1.0
        plain = min(self.rounds[0])
        if gamma in self.rounds:
            return min(self.rounds[gamma]) / plain
        known = sorted(self.rounds)
        low = max((g for g in known if g < gamma), default=known[0])
        high = min((g for g in known if g > gamma), default=None)
        if high is None:
            low, high = (known[-2] if len(known) > 1 else known[-1]), known[-1]
        a, b = min(self.rounds[low]), min(self.rounds[high])
        slope = (b - a) / (high - low) if high > low else 0.0
        return max(a + max(slope, 0.0) * (gamma - low), plain) / plain


def expected(acceptance: float, gamma: int) -> float:
    """Tokens that a round of `gamma` gives on average (2211.17192, eq. 1)."""
    if acceptance > 1 - 1e-9:
        return gamma + 1.0
    return float((1 - acceptance ** (gamma + 1)) / (1 - acceptance))


@dataclass(slots=True)
class Controller:
    """The draft length of one row. It looks at past rounds only, so it cannot change the distribution.

    `c` and `v` give the measured costs (see `Costs`). `gamma_max` bounds the length, `first` is taken until enough is
    known. With `survival` the chance that a draft stands to position j is counted by position instead of a^j.
    """

    c: Callable[[], float]
    v: Callable[[int], float]
    gamma_max: int = 16
    first: int = 3
    decay: float = 0.9
    survival: bool = False
    accepted: float = 0.0
    tested: float = 0.0
    on: bool = True
    waited: int = 0
    pause: int = _FIRST_PROBE
    switches: list[str] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    survived: list[float] = field(default_factory=list)

    def go_on_from(self, other: Controller) -> None:
        """Take over what another row has learned."""
        self.accepted, self.tested, self.on = other.accepted, other.tested, other.on
        self.waited, self.pause = other.waited, other.pause
        self.reached, self.survived = list(other.reached), list(other.survived)

    @property
    def acceptance(self) -> float:
        return self.accepted / self.tested if self.tested else 0.0

    def projected(self, gamma: int) -> float:
        """S(gamma)."""
        if gamma == 0:
            return 1.0
        return self._tokens(gamma) / (gamma * self.c() + self.v(gamma))

    def _tokens(self, gamma: int) -> float:
        if not self.survival:
            return expected(self.acceptance, gamma)
        chance, total = 1.0, 1.0
        for j in range(gamma):
            known = j < len(self.reached) and self.reached[j] > 0
            chance *= self.survived[j] / self.reached[j] if known else self.acceptance
            total += chance
        return total

    def best(self) -> int:
        """The length, at least 1, of the greatest projected speed-up; the shortest of equal ones."""
        return max(range(1, self.gamma_max + 1), key=lambda gamma: (self.projected(gamma), -gamma))

    def choose(self) -> int:
        """The draft length of the next round."""
        if not self.on:
            return 1 if self.waited >= self.pause else 0
        if self.tested < _ENOUGH:
            return min(self.first, self.gamma_max)
        return self.best()

    def record(self, proposed: int, accepted: int, tested: int, emitted: int) -> None:
        """A round is over: so many tokens were proposed, accepted, tested and emitted."""
        if not self.on:
            self.waited += emitted
        if not proposed:
            return
        self.accepted = self.decay * self.accepted + accepted
        self.tested = self.decay * self.tested + tested
        self._count_positions(accepted, tested)
        if not self.on:
            self.waited, self.pause = 0, 2 * self.pause
        if self.tested >= _ENOUGH:
            self._switch()

    def _count_positions(self, accepted: int, tested: int) -> None:
        self.reached += [0.0] * (tested - len(self.reached))
        self.survived += [0.0] * (tested - len(self.survived))
        for j in range(len(self.reached)):
            self.reached[j] = self.decay * self.reached[j] + (j < tested)
            self.survived[j] = self.decay * self.survived[j] + (j < accepted)

    def _switch(self) -> None:
        best = self.best()
        gain = self.projected(best)
        if self.on and gain < _OFF_BELOW:
            self.on, self.waited, self.pause = False, 0, _FIRST_PROBE
        elif not self.on and gain > _ON_ABOVE:
            self.on = True
        else:
            return
        state = "on" if self.on else "off"
        self.switches.append(
            f"speculation {state}: acceptance {self.acceptance:.2f}, draft cost {self.c():.2f}, "
            f"verify cost {self.v(best):.2f}, projected {gain:.2f}x"
        )
        _LOG.info(self.switches[-1])
