"""What is asked of the scheduler, and what it tells: pieces, answers, failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from consort.core.types import Completion, Sampling
from consort.models.decoding.decode import Row, answer_text, content_of, settled
from consort.models.token_model import TokenModel

_TAIL = 16
"""How many tokens are decoded again with the next one, since many tokenizers decode a token by what precedes it."""


@dataclass(frozen=True, slots=True)
class Told:
    """A token as it was drawn: its log-probability (nats) before sampling transforms, and the likeliest in its place.

    The token of a model whose ids are not known is its bytes.
    """

    token: int | bytes
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """More of the answer number `row` of a ticket."""

    row: int
    text: str
    told: tuple[Told, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The answer number `row`, whole; `cached` tokens of its prompt had been read before."""

    row: int
    completion: Completion
    told: tuple[Told, ...] = ()
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer to any row of the ticket."""

    error: Exception


Event = Piece | Done | Failed
Emit = Callable[[Event], None]
"""Called from the scheduler's thread; must not block."""


@dataclass(slots=True, eq=False)
class Ticket:
    """Rows to be decoded by one model with one sampling; `pieces`: tell them as they come; `top`: likeliest tokens."""

    model: TokenModel
    rows: list[Row]
    sampling: Sampling
    emit: Emit
    pieces: bool = False
    top: int | None = None
    cancelled: bool = False
    left: int = 0
    kind: Sampling | None = None
    """Rows of equal kind can be drawn together; None for greedy ones whose logits are not changed."""

    def __post_init__(self) -> None:
        self.left = len(self.rows)
        greedy = self.sampling.temperature == 0 and not self.sampling.adjusts
        self.kind = None if greedy else replace(self.sampling, max_tokens=0, stop=(), seed=0, seeds=())


@dataclass(slots=True, eq=False)
class Slot:
    """A row of a session: at work for a ticket, or idle with what it has read, which a later prompt may begin with."""

    ticket: Ticket | None
    number: int = 0
    row: Row = field(default_factory=lambda: Row([], b"", 0))
    read: list[int] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    cached: int = 0
    at_start: Mapping[str, Any] = field(default_factory=dict)
    after_prompt: Mapping[str, Any] | None = None
    plain: bool = True
    """The row was new and its prompt was read at once: its session's own account is right."""
    sent: str = ""
    even: int = 0
    """So many tokens are exactly the text `sent_even`."""
    sent_even: str = ""
    sent_told: int = 0
    used: int = 0

    def fresh_text(self) -> str:
        """What has become certain of the text since the last call. Only the last tokens are decoded anew."""
        ticket, row = self.ticket, self.row
        assert ticket is not None
        tokenizer, tokens = ticket.model.tokenizer, content_of(ticket.model, row)
        start = max(0, self.even - _TAIL)
        head = [*row.prompt, *tokens[:start]]
        before = answer_text(tokenizer, head, tokens[start : self.even]) if start else ""
        whole = answer_text(tokenizer, head, tokens[start:])
        if start and whole.startswith(before) and "\ufffd" not in before:
            whole = self.sent_even + whole[len(before) :]
        elif start:
            whole = answer_text(tokenizer, row.prompt, tokens)
        sure = settled(whole, ticket.sampling.stop)
        if len(sure) == len(whole):
            self.sent_even, self.even = whole, len(tokens)
        if len(sure) <= len(self.sent) or not sure.startswith(self.sent):
            return ""
        found, self.sent = sure[len(self.sent) :], sure
        return found

    def rest(self, text: str) -> str:
        """What of the finished answer has not been told."""
        return text[len(self.sent) :] if text.startswith(self.sent) else ""
