"""A draft model's session, which follows the target's text: it catches up, steps back and begins anew by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters.base import Start
from consort.cooperate.speculate.rounds.pipeline import Prefix
from consort.cooperate.speculate.rounds.vocabulary import Pairing
from consort.core.types import Usage
from consort.models.base import Session
from consort.models.token_model import TokenModel

_FAR = 64
"""Tokens behind the text at which a draft that was not asked for long begins anew, so many tokens before the end: what
reading all of it costs would grow with the time it has paused."""


@dataclass(slots=True)
class Follower:
    """A row: all tokens of the target so far, the same in ids of the draft, and how many of those its session holds."""

    key: bytes
    prompt: int
    tokens: list[int]
    history: list[int]
    held: int = 0
    waiting: bytes = b""
    ahead: list[int] = field(default_factory=list)  # drafted tokens that the session holds after `history`

    @property
    def position(self) -> int:
        """How many tokens of the answer there are."""
        return len(self.tokens) - self.prompt


class Followers:
    """A draft model's session over a batch, opened when it is first read, that catches up and steps back by itself.

    A text longer than the draft's window is read again from its last half window on: what a draft has read may be
    anything, only the acceptance depends on it.
    """

    def __init__(self, model: TokenModel, pairing: Pairing) -> None:
        self.model, self.pairing = model, pairing
        self.rows: list[Follower] = []
        self.session: Session | None = None

    def start(self, rows: Sequence[Start]) -> None:
        self.session = None
        self.rows = [Follower(r.key, len(r.prompt), list(r.prompt), self.pairing.prompt(r.prompt)) for r in rows]

    def within_window(self, gammas: Sequence[int]) -> list[int]:
        """The draft lengths, cut to what the draft's window holds beside one token of text."""
        return [g if self.model.window is None else min(g, self.model.window - 1) for g in gammas]

    def able(self, row: int, gamma: int) -> bool:
        """Whether a guess can be made: something is read, no character is half known."""
        return bool(gamma and self.rows[row].history and not self.rows[row].waiting)

    def prefix(self, row: int, drafted: Sequence[int]) -> Prefix:
        tokens, prompt = self.rows[row].tokens, self.rows[row].prompt
        return Prefix(self.rows[row].key, tokens[:prompt], [*tokens[prompt:], *drafted])

    def catch_up(self, active: Sequence[int], ahead: int) -> list[Float[Tensor, "new vocab"]]:
        """Read what the active rows have not read; the logits after each, with room for `ahead` more tokens."""
        if self.session is None:
            self.session = self.model.open(len(self.rows))
        for row in active:
            self._make_room(self.rows[row], ahead)
        self.session.rollback([row.held for row in self.rows])
        found = self.feed(active, [self.rows[row].history[self.rows[row].held :] for row in active])
        for row in active:
            self.rows[row].held = len(self.rows[row].history)
        return found

    def _make_room(self, row: Follower, ahead: int) -> None:
        window = self.model.window
        if row.held and len(row.history) - row.held > _FAR:
            row.history, row.held = row.history[-_FAR:], 0
        if window is not None and len(row.history) + ahead > window:
            row.history = row.history[-max(1, min(window // 2, window - ahead)) :]
            row.held = 0
        row.held = min(row.held, len(row.history) - 1)  # at least one token is read, for its logits

    def feed(
        self, active: Sequence[int], tokens: Sequence[Sequence[int]], *, last: bool = True
    ) -> list[Float[Tensor, "new vocab"]]:
        """Further tokens of some rows; the logits after the last of each, or after all."""
        assert self.session is not None
        given: list[Sequence[int]] = [()] * len(self.rows)
        for row, new in zip(active, tokens, strict=True):
            given[row] = new
        logits = self.session.feed(given, last=last)
        return [logits[row] for row in active]

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        for row, tokens in zip(self.rows, emitted, strict=True):
            if not tokens:
                continue
            new, row.waiting = self.pairing.read(tokens, row.waiting)
            kept = next((i for i, (a, b) in enumerate(zip(row.ahead, new, strict=False)) if a != b), None)
            row.held += min(len(row.ahead), len(new)) if kept is None else kept
            row.tokens += tokens
            row.history += new
            row.ahead = []

    def select(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]
        if self.session is not None:
            self.session = self.session.select(rows)

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        if self.session is None:
            return [[] for _ in self.rows]
        return [[(self.model, cost)] for cost in self.session.spent()]
