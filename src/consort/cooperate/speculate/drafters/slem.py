"""Drafts across tokenizers by text (SLEM: Timor et al. 2502.05202, algorithm 2).

The draft writes what it likes, the target's tokenizer splits it, and the tokens count as given, not drawn: lossless for
greedy and for sampling. A token of the target can stand for text that the draft has no token for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consort.cooperate.speculate.drafters import drafter
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Start, Target
from consort.cooperate.speculate.drafters.draft import EMPTY, Draft
from consort.cooperate.speculate.drafters.followers import Follower, Followers
from consort.cooperate.speculate.drafters.growing import GrowingSession, Shape
from consort.cooperate.speculate.rounds.pipeline import Pipeline
from consort.cooperate.speculate.rounds.vocabulary import Pairing, written
from consort.core.types import Usage
from consort.models.base import Tokenizer
from consort.models.decoding.decode import answer_text
from consort.models.token_model import TokenModel

_BEHIND = 10
"""Tokens before the new text that are split together with it, so that both splits agree at the seam."""


@drafter(paper="2502.05202")
class Slem(Drafter):
    """The draft model's likeliest text, split as the target's tokenizer would.

    With one vocabulary there is nothing to split: it is the best chain.
    """

    def __init__(self, draft: TokenModel | None = None) -> None:
        self.draft = draft

    def open(self, target: Target, draft: TokenModel | None) -> DraftSession:
        assert draft is not None
        pairing = target.pairing(draft)
        if pairing.same:
            return GrowingSession(draft, pairing, Shape(nodes=1000, branching=1), trees=False)
        return SlemSession(draft, pairing)


class SlemSession:
    """Writes greedily with the draft model; the last token of the target's split is withheld, as it may yet change."""

    def __init__(self, model: TokenModel, pairing: Pairing) -> None:
        self.model, self.pairing = model, pairing
        self.follow = Followers(model, pairing)
        self.width = 0
        self.unread: list[list[int]] = []

    def start(self, rows: Sequence[Start], pipeline: Pipeline, width: int) -> None:
        self.width = width
        self.follow.start(rows)
        self.unread = [[] for _ in rows]

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        # one token more than asked for, since one is withheld
        asked = self.follow.within_window([gamma + 1 if gamma else 0 for gamma in gammas])
        active = [row for row, gamma in enumerate(asked) if self.follow.able(row, gamma)]
        if not active:
            return [EMPTY] * len(gammas)
        written: list[list[int]] = [[] for _ in gammas]
        logits = self.follow.catch_up(active, max(asked))
        while True:
            for row, rows_logits in zip(active, logits, strict=True):
                written[row].append(int(rows_logits[-1].argmax()))
            active = [r for r in active if len(written[r]) < asked[r] and written[r][-1] not in self.model.ends]
            if not active:
                break
            for row in active:
                self.follow.rows[row].ahead.append(written[row][-1])
            logits = self.follow.feed(active, [written[row][-1:] for row in active])
        return [
            Draft(self._split(r, w)[:g]) if w else EMPTY for r, (w, g) in enumerate(zip(written, gammas, strict=True))
        ]

    def _split(self, at: int, written: list[int]) -> list[int]:
        """What the draft wrote in tokens of the target."""
        row, target = self.follow.rows[at], self.pairing.target
        ended = written[-1] in self.model.ends
        text = answer_text(self.pairing.draft, row.history, written[:-1] if ended else written)
        tokens = respelt(target, row.tokens, text.rstrip("\ufffd"))
        if not ended:
            return tokens[:-1]
        return tokens if target.eos is None else [*tokens, target.eos]

    def observe(self, emitted: Sequence[Sequence[int]]) -> None:
        for i, (row, tokens) in enumerate(zip(self.follow.rows, emitted, strict=True)):
            if not tokens:
                continue
            self.unread[i] += tokens
            row.tokens += tokens
            text = answer_text(self.pairing.target, row.tokens[: -len(self.unread[i])], self.unread[i])
            row.waiting = b"?" if text.endswith("\ufffd") and len(self.unread[i]) < _BEHIND else b""
            if not row.waiting:
                self._go_on(row, text)
                self.unread[i] = []

    def _go_on(self, row: Follower, text: str) -> None:
        """Let the draft's history go on with `text`, keeping what its session has read of it."""
        held = [*row.history[: row.held], *row.ahead]
        row.history = [*row.history, *respelt(self.pairing.draft, row.history, text)]
        same = (i for i, (a, b) in enumerate(zip(held, row.history, strict=False)) if a != b)
        row.held, row.ahead = next(same, min(len(held), len(row.history))), []

    def select(self, rows: Sequence[int]) -> None:
        self.unread = [self.unread[row] for row in rows]
        self.follow.select(rows)

    def spent(self) -> list[list[tuple[Any, Mapping[str, Usage]]]]:
        return self.follow.spent()


def respelt(tokenizer: Tokenizer, before: Sequence[int], text: str) -> list[int]:
    """How `tokenizer` splits `text` after the tokens `before`.

    The last few of those are split again together with it; where that changes them, the text is split by itself.
    """
    tail = list(before[-_BEHIND:])
    while tail and not tokenizer.decode(tail[:1]):
        tail = tail[1:]  # special tokens are no text
    whole = written(tokenizer, tokenizer.decode(tail) + text)
    if whole[: len(tail)] == tail:
        return whole[len(tail) :]
    return written(tokenizer, text)
