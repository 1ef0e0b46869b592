"""A draft model: one token a pass, with a session of its own that follows the target's text."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters.draft import EMPTY, Draft, Start
from consort.cooperate.speculate.rounds.pipeline import Pipeline, Prefix, number
from consort.cooperate.speculate.rounds.vocabulary import Pairing
from consort.core.types import Sampling, Usage
from consort.models.base import Session
from consort.models.decoding.sampling import draw, uniform
from consort.models.token_model import TokenModel

_LOG = logging.getLogger("consort.speculate")
_LITTLE = 0.5
"""A draft whose probability is on shared tokens to less than this share is warned of."""
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


class ModelDrafter:
    """Draws each draft token from the draft model's processed distribution, given the draft so far.

    `confidence`: a draft ends with a token of less probability than this (the token itself stays, since leaving out
    tokens by what was drawn would bias the output); 0 is off. `coupled`: tokens are drawn with the numbers that the
    target will use, and taken as given: the text is then plain decoding's own for a seed, at a lower acceptance.
    """

    def __init__(self, model: TokenModel, pairing: Pairing, *, confidence: float = 0.0, coupled: bool = False) -> None:
        self.model, self.pairing, self.confidence, self.coupled = model, pairing, confidence, coupled
        self.name, self.members = "model", (model,)
        self.follow = Followers(model, pairing)
        self.pipeline, self.width, self.warned = Pipeline(Sampling()), 0, self.pairing.same

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        self.pipeline, self.width = pipeline, width
        self.follow.start(rows)

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        gammas = self.follow.within_window(gammas)
        active = [row for row, gamma in enumerate(gammas) if self.follow.able(row, gamma)]
        drafted: list[list[int]] = [[] for _ in gammas]
        kept: list[list[Tensor]] = [[] for _ in gammas]
        logits = self.follow.catch_up(active, max(gammas)) if active else []
        self._warn(logits)
        while active:
            tokens, q = self._draw(active, torch.cat(logits), drafted)
            for i, (row, token) in enumerate(zip(active, tokens, strict=True)):
                drafted[row].append(token)
                if q is not None and not self.pipeline.greedy and not self.coupled:
                    kept[row].append(q[i])
            sure = [True] * len(active) if q is None or not self.confidence else self._sure(q, tokens)
            active = [r for r, ok in zip(active, sure, strict=True) if ok and len(drafted[r]) < gammas[r]]
            logits = self._step(active, drafted) if active else []
        return [Draft(t, torch.stack(q) if q else None) if t else EMPTY for t, q in zip(drafted, kept, strict=True)]

    def _draw(
        self, active: Sequence[int], logits: Float[Tensor, "row vocab"], drafted: Sequence[Sequence[int]]
    ) -> tuple[list[int], Float[Tensor, "row vocab"] | None]:
        ours = self.pairing.logits(logits, self.width)
        rows = [self.follow.rows[row] for row in active]
        scores = self.pipeline.scores(ours, lambda: [self.follow.prefix(r, drafted[r]) for r in active])
        if self.pipeline.greedy:
            return scores.argmax(-1).tolist(), scores.softmax(-1) if self.confidence else None
        q = self.pipeline.transformed(scores)
        places = [(row.key, row.position + len(drafted[r])) for r, row in zip(active, rows, strict=True)]
        chances = [uniform(k, at) if self.coupled else number(k, at, "draft") for k, at in places]
        return draw(q, chances).tolist(), q

    def _sure(self, q: Float[Tensor, "row vocab"], tokens: Sequence[int]) -> list[bool]:
        return [bool(q[i, token] >= self.confidence) for i, token in enumerate(tokens)]

    def _step(self, active: Sequence[int], drafted: Sequence[Sequence[int]]) -> list[Float[Tensor, "new vocab"]]:
        """Let the draft read its own last tokens."""
        for row in active:
            token = drafted[row][-1]
            self.follow.rows[row].ahead.append(token if self.pairing.same else self.pairing.to_draft[token])
        return self.follow.feed(active, [self.follow.rows[row].ahead[-1:] for row in active])

    def _warn(self, logits: Sequence[Float[Tensor, "new vocab"]]) -> None:
        """Once: say so if the draft puts most of its probability on tokens that the target does not have."""
        if logits and not self.warned:
            self.warned = True
            mass = self.pairing.shared_mass(torch.cat(list(logits)))
            if mass < _LITTLE:
                _LOG.warning("%s shares only %.2f of its probability with the target's tokens", self.model.name, mass)

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        self.follow.observe(emitted)

    def select(self, rows: Sequence[int]) -> None:
        self.follow.select(rows)

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        return self.follow.spent()
