"""Two models on one text, one proposing tokens that the other verifies: the session of `speculative_average`.

Tokens are certain before they are given: the logits of a session leave one token, the next certain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from consort.core.types import Sampling, Usage
from consort.ensemble.during.average import Average, mix
from consort.ensemble.mixing.base import check_numbers
from consort.models.cost import joined
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Alternating(Protocol):
    """The strategy: two models and their shares, their average, how many tokens are proposed at a time."""

    whole: Average
    ahead: int

    @property
    def models(self) -> Sequence[TokenModel]: ...
    @property
    def shares(self) -> Sequence[float]: ...


@dataclass(slots=True)
class Reader:
    """One model reading a batch: what it has not read, and its logits after what it has."""

    model: TokenModel
    session: Any
    read: list[int]
    unread: list[list[int]]
    after: list[Any]
    calls: int = 0

    def catch_up(self, rows: Sequence[int], proposed: Sequence[Sequence[int]] | None = None) -> list[list[Any]]:
        """For each row, logits after what was written and after each of its `proposed` tokens, read in one pass.

        Raises BadCheckpoint where they are no numbers.
        """
        import torch

        more: Sequence[Sequence[int]] = [[] for _ in rows] if proposed is None else proposed
        fed: list[list[int]] = [[] for _ in self.unread]
        for row, new in zip(rows, more, strict=True):
            fed[row] = [*self.unread[row], *new]
        found = self.session.feed(fed) if any(fed) else []
        self.calls += any(map(bool, fed))
        told = []
        for row, new in zip(rows, more, strict=True):
            waiting = len(self.unread[row])
            before = [found[row][waiting - 1]] if waiting else [self.after[row]]
            told.append([*before, *(found[row][waiting + i] for i in range(len(new)))])
            check_numbers(torch.stack(told[-1]), self.model.name)
            self.read[row] += len(fed[row])
            self.unread[row], self.after[row] = [], told[-1][-1]
        return told

    def back_to(self, row_lengths: dict[int, int]) -> None:
        """Forget what was read beyond these lengths."""
        self.read = [min(n, row_lengths.get(row, n)) for row, n in enumerate(self.read)]
        self.session.rollback(self.read)


@dataclass(slots=True)
class Row:
    """One answer: what the loop was given, tokens that are certain but not given yet, and who proposes next."""

    key: bytes
    given: list[int] = field(default_factory=list)
    certain: list[int] = field(default_factory=list)
    proposer: int = 0
    drawn: int = 0
    proposed: int = 0
    accepted: int = 0

    def uniform(self) -> float:
        """The next number of this answer's own stream."""
        from consort.models.decoding.sampling import uniform

        self.drawn += 1
        return uniform(self.key, self.drawn)


class AlternatingSession:
    """Both models, each behind the text by what it has not read; `keys` decide what each row draws."""

    def __init__(self, owner: Alternating, sampling: Sampling, keys: Sequence[bytes]) -> None:
        self.owner, self.sampling, batch = owner, sampling, len(keys)
        self.size = owner.whole.tokenizer.vocab_size
        parts = [(m, m.open(batch)) for m in owner.models]
        self.parts = [Reader(m, s, [0] * batch, [[] for _ in range(batch)], [None] * batch) for m, s in parts]
        self.rows = [Row(key) for key in keys]

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        import torch

        for row, new in enumerate(tokens):
            self._give(row, new)
        empty = [row for row, new in enumerate(tokens) if new and not self.rows[row].certain]
        turns = [[row for row in empty if self.rows[row].proposer == proposer] for proposer in (0, 1)]
        for proposer, mine in enumerate(turns):
            if mine:
                self._round(mine, proposer)
        wide = max([self.size, *(row.certain[0] + 1 for row in self.rows if row.certain)])
        found = torch.full((len(tokens), wide), -torch.inf)
        for row, new in enumerate(tokens):
            if new:
                found[row, self.rows[row].certain[0]] = 0.0
        return [found[row : row + 1] if new else found[:0] for row, new in enumerate(tokens)]

    def _give(self, row: int, new: Sequence[int]) -> None:
        """Tokens that are text now; others than the certain ones put the models back."""
        state = self.rows[row]
        for token in new:
            if state.certain and state.certain[0] == token:
                state.certain.pop(0)
            else:
                if state.certain:
                    self._forget(row, len(state.given))
                for part in self.parts:
                    part.unread[row].append(token)
            state.given.append(token)

    def _round(self, rows: Sequence[int], proposer: int) -> None:
        """At least one more certain token for each row."""
        own, other = self.parts[proposer], self.parts[1 - proposer]
        ahead = self._ahead(rows)
        tokens: list[list[int]] = [[] for _ in rows]
        drafts: list[list[Any]] = [[] for _ in rows]
        for step in range(max(1, ahead)):
            logits = own.catch_up(rows)
            for i, row in enumerate(rows):
                drafts[i].append(logits[i][-1])
                if ahead:
                    q = self._law(logits[i][-1])
                    tokens[i].append(drawn(q, self.rows[row].uniform()))
                    if step < ahead - 1:
                        own.unread[row].append(tokens[i][-1])
        verified = other.catch_up(rows, tokens)
        kept = {row: self._verify(row, proposer, tokens[i], drafts[i], verified[i]) for i, row in enumerate(rows)}
        self._settle(own, kept, drafts)
        self._settle(other, kept, verified)

    def _ahead(self, rows: Sequence[int]) -> int:
        """How many tokens may be proposed without leaving the window."""
        window = self.owner.whole.window
        longest = max(len(self.rows[row].given) for row in rows)
        ahead = self.owner.ahead
        return ahead if window is None else max(0, min(ahead, window - longest - 1))

    def _verify(self, row: int, proposer: int, tokens: list[int], drafts: list[Any], verified: list[Any]) -> int:
        """Accept tokens in turn; the first that is not is drawn again from what the mix has more of. How many stand."""
        state, shares = self.rows[row], self.owner.shares
        weight = [shares[proposer], shares[1 - proposer]]
        state.proposer, state.proposed = 1 - proposer, state.proposed + len(tokens)
        targets = [self._law(mix([d[None], v[None]], weight)[0]) for d, v in zip(drafts, verified, strict=False)]
        for at, token in enumerate(tokens):
            target, q = targets[at], self._law(drafts[at])
            if token >= len(target) or state.uniform() * float(q[token]) >= float(target[token]):
                left = (target - q[: len(target)]).clamp(min=0)
                state.certain.append(drawn(left if float(left.sum()) > 0 else target, state.uniform()))
                return at
            state.accepted += 1
            state.certain.append(token)
        if not tokens:
            state.certain.append(drawn(targets[0], state.uniform()))
        return len(tokens)

    def _settle(self, part: Reader, kept: dict[int, int], logits: list[list[Any]]) -> None:
        """A model keeps what it read of the tokens that stand; the others it has still to read."""
        lengths = {}
        for (row, stand), after in zip(kept.items(), logits, strict=True):
            state = self.rows[row]
            start = len(state.given)
            same = min(part.read[row] - start, stand)
            lengths[row] = start + same
            part.unread[row] = state.certain[same:]
            part.after[row] = after[same]
        part.back_to(lengths)

    def _forget(self, row: int, length: int) -> None:
        """Put both models back to the first tokens of a row; at least one is read again, for its logits."""
        state = self.rows[row]
        state.given, state.certain = state.given[:length], []
        for part in self.parts:
            keep = min(part.read[row], max(0, length - 1))
            part.back_to({row: keep})
            part.unread[row], part.after[row] = state.given[keep:], None

    def rollback(self, lengths: Sequence[int]) -> None:
        for row, length in enumerate(lengths):
            if length < len(self.rows[row].given):
                self._forget(row, length)

    def select(self, rows: Sequence[int]) -> AlternatingSession:
        for part in self.parts:
            part.session = part.session.select(rows)
            part.read, part.after = [part.read[row] for row in rows], [part.after[row] for row in rows]
            part.unread = [list(part.unread[row]) for row in rows]
        old = [self.rows[row] for row in rows]
        self.rows = [replace(state, given=list(state.given), certain=list(state.certain)) for state in old]
        return self

    def notes(self) -> list[dict[str, Any]]:
        calls = {part.model.name: part.calls for part in self.parts}
        return [{"calls": calls, "proposed": s.proposed, "accepted": s.accepted} for s in self.rows]

    def spent(self) -> list[dict[str, Usage]]:
        by_row = zip(*(part.session.spent() for part in self.parts), strict=True)
        models = [part.model for part in self.parts]
        return [joined(self.owner, list(zip(models, costs, strict=True))) for costs in by_row]

    def _law(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        from consort.models.decoding.sampling import distribution

        return distribution(logits[None], self.sampling)[0].double()


def drawn(probabilities: Float[Tensor, " vocab"], number: float) -> int:
    """The token at which the cumulated probability passes a number in [0, 1)."""
    from consort.models.decoding.sampling import draw

    return int(draw(probabilities[None], [number])[0])
