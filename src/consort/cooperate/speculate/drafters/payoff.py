"""Whether the branches of a tree pay: what they save against the tokens that they add to every pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_DECAY = 0.9
"""How older rounds count less."""
_TRUST = 2.0
"""Rounds for which a row is believed to pay just enough before anything is known of it."""


@dataclass(slots=True)
class Payoff:
    """Tokens that a row's branches saved in each round, on average; counts alone decide, never a clock.

    `worth`: tokens that a branch's token must save; 0 always pays.
    """

    worth: float
    saved: float = 0.0
    rounds: float = 0.0

    def pays(self, added: int) -> bool:
        """Whether branches of `added` tokens in all are worth reading."""
        enough = self.worth * added
        return self.saved + _TRUST * enough >= enough * (self.rounds + _TRUST)

    def enter(self, saved: int) -> None:
        """A round is over in which the branches saved so many tokens, or would have."""
        self.saved = _DECAY * self.saved + saved
        self.rounds = _DECAY * self.rounds + 1


def path_length(tokens: Sequence[int], parents: Sequence[int], emitted: Sequence[int]) -> int:
    """How many of the emitted tokens a tree has, one below the other."""
    children = {edge: node for node, edge in enumerate(zip(parents, tokens, strict=True))}
    at = -1
    for length, token in enumerate(emitted):
        if (at, token) not in children:
            return length
        at = children[at, token]
    return len(emitted)


def chain_length(tokens: Sequence[int], parents: Sequence[int], emitted: Sequence[int]) -> int:
    """The same for the chain of first children."""
    first: dict[int, int] = {}
    for node, parent in enumerate(parents):
        first.setdefault(parent, node)
    at = -1
    for length, token in enumerate(emitted):
        if at not in first or tokens[first[at]] != token:
            return length
        at = first[at]
    return len(emitted)
