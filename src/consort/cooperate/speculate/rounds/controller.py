"""How long to draft, and when not to: the draft length of the greatest projected speed-up, from what was measured.

Speed-up of a draft length g over plain decoding, by Leviathan et al. (2211.17192, theorem 3.8) with a measured cost of
verification in place of 1:

    S(g) = (1 - a^(g+1)) / ((1 - a) (g c + v(g)))

a is the acceptance of a token, c the cost of drafting one and v(g) of a target pass over g + 1, both against a target
pass over one token. What the rounds really gave for what they really cost is counted as well, and outweighs S.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_LOG = logging.getLogger("consort.speculate")

_OFF_BELOW, _ON_ABOVE = 1.0, 1.05
_FIRST_PROBE = 64
_ENOUGH = 3.0
"""Weight of tested tokens before which nothing is concluded."""
_COUNTED, _LEDGER_DECAY = 8, 0.97
"""Rounds after which the ledger of tokens and costs has a say, and how it forgets."""


def expected(acceptance: float, gamma: int) -> float:
    """Tokens that a round of `gamma` gives on average (2211.17192, eq. 1)."""
    if acceptance > 1 - 1e-9:
        return gamma + 1.0
    return float((1 - acceptance ** (gamma + 1)) / (1 - acceptance))


@dataclass(slots=True)
class Ledger:
    """Tokens that rounds with drafts gave, and what these rounds cost in plain steps; older ones count less."""

    tokens: float = 0.0
    cost: float = 0.0
    rounds: int = 0

    def enter(self, tokens: int, cost: float) -> None:
        self.tokens = _LEDGER_DECAY * self.tokens + tokens
        self.cost = _LEDGER_DECAY * self.cost + cost
        self.rounds += 1

    @property
    def gain(self) -> float | None:
        """Tokens for a plain step's cost, so plain decoding has 1; None while too little is known."""
        return self.tokens / self.cost if self.rounds >= _COUNTED and self.cost > 0 else None


@dataclass(slots=True)
class Controller:
    """The draft length of one row. It looks at past rounds only, so it cannot change the distribution.

    `c` and `v` give the measured costs (see `costs.Costs`). `gamma_max` bounds the length, `first` is taken until
    enough is known. With `survival` the chance that a draft stands to position j is counted by position instead of
    a^j. Off, it tries a draft of one token after 64, 128, 256, … tokens, and a second if that one stood; the waits go
    on growing over a time on that was shorter than the wait before it.
    """

    c: Callable[[], float]
    v: Callable[[int], float]
    gamma_max: int = 16
    first: int = 1
    decay: float = 0.9
    survival: bool = False
    accepted: float = 0.0
    tested: float = 0.0
    on: bool = True
    waited: int = 0
    pause: int = _FIRST_PROBE
    stayed: int | None = None
    """Tokens since a probe switched it on; None before any did."""
    again: bool = False
    switches: list[str] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    survived: list[float] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    def go_on_from(self, other: Controller) -> None:
        """Take over what another row has learned."""
        self.accepted, self.tested, self.on = other.accepted, other.tested, other.on
        self.waited, self.pause, self.stayed, self.again = other.waited, other.pause, other.stayed, other.again
        self.reached, self.survived = list(other.reached), list(other.survived)
        self.ledger = Ledger(other.ledger.tokens, other.ledger.cost, other.ledger.rounds)

    @property
    def acceptance(self) -> float:
        return self.accepted / self.tested if self.tested else 0.0

    def projected(self, gamma: int) -> float:
        """S(gamma)."""
        if gamma == 0:
            return 1.0
        *_, tokens = self._tokens(gamma)
        return tokens / (gamma * self.c() + self.v(gamma))

    def _tokens(self, gamma: int) -> Iterator[float]:
        """Tokens that rounds of 1, 2, … `gamma` give on average."""
        share, chance, total = self.acceptance, 1.0, 1.0
        for j in range(gamma):
            known = self.survival and j < len(self.reached) and self.reached[j] > 0
            chance *= self.survived[j] / self.reached[j] if known else share
            total += chance
            yield total

    def best(self) -> int:
        """The length, at least 1, of the greatest projected speed-up; the shortest of equal ones."""
        c, best, most = self.c(), 1, 0.0
        for gamma, tokens in enumerate(self._tokens(self.gamma_max), 1):
            if (gain := tokens / (gamma * c + self.v(gamma))) > most:
                best, most = gamma, gain
        return best

    def choose(self) -> int:
        """The draft length of the next round."""
        if not self.on:
            return 1 if self.again or self.waited >= self.pause else 0
        if self.tested < _ENOUGH or not self.c():
            return min(self.first, self.gamma_max)
        return self.best()

    @property
    def left(self) -> int:
        """Tokens until it asks for a draft, as far as it knows."""
        return 0 if self.on or self.again else max(0, self.pause - self.waited)

    def passed(self) -> None:
        """A token came without a draft."""
        self.waited += not self.on

    def record(self, proposed: int, accepted: int, tested: int, emitted: int, cost: float | None = None) -> None:
        """A round is over: so many tokens were proposed, accepted, tested and emitted, for so many plain steps."""
        if not proposed:
            self.waited += 0 if self.on else emitted
            return
        self.accepted = self.decay * self.accepted + accepted
        self.tested = self.decay * self.tested + tested
        self._count_positions(accepted, tested)
        if self.on:
            self.stayed = None if self.stayed is None else self.stayed + emitted
            if cost is not None:
                self.ledger.enter(emitted, cost)
        else:
            first = not self.again
            self.again = first and accepted > 0
            self.waited, self.pause = 0, 2 * self.pause if first else self.pause
        if self.tested >= _ENOUGH and not self.again:
            self._switch()

    def _count_positions(self, accepted: int, tested: int) -> None:
        if not self.survival:
            return
        self.reached += [0.0] * (tested - len(self.reached))
        self.survived += [0.0] * (tested - len(self.survived))
        for j in range(len(self.reached)):
            self.reached[j] = self.decay * self.reached[j] + (j < tested)
            self.survived[j] = self.decay * self.survived[j] + (j < accepted)

    def _switch(self) -> None:
        best = self.best()
        gain, measured = self.projected(best), self.ledger.gain
        if self.on and (gain < _OFF_BELOW or (measured is not None and measured < _OFF_BELOW)):
            brief = self.stayed is not None and self.stayed < self.pause
            self.on, self.waited, self.pause = False, 0, self.pause if brief else _FIRST_PROBE
        elif not self.on and gain > _ON_ABOVE:
            self.on, self.stayed = True, 0
        else:
            return
        self._tell(best, gain, None if self.on else measured)
        self.ledger = Ledger()

    def _tell(self, gamma: int, gain: float, measured: float | None) -> None:
        self.switches.append(
            f"speculation {'on' if self.on else 'off'}: acceptance {self.acceptance:.2f}, draft cost {self.c():.2f}, "
            f"verify cost {self.v(gamma):.2f}, projected {gain:.2f}x"
            + ("" if measured is None else f", measured {measured:.2f}x")
        )
        _LOG.info(self.switches[-1])
