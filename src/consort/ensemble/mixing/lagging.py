"""A member that reads only when it is asked: what it missed is read in one pass then."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from consort.core.types import Usage
from consort.ensemble.mixing.base import check_numbers
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Lagging:
    """A batch of sequences in one model, each with tokens that it has not read yet."""

    def __init__(self, model: TokenModel, batch: int) -> None:
        self.model, self.session = model, model.open(batch)
        self.unread: list[list[int]] = [[] for _ in range(batch)]
        self.read = [0] * batch
        self.calls = 0
        """Forward passes."""

    def add(self, tokens: Sequence[Sequence[int]]) -> None:
        """Tokens that there are now in each row."""
        for waiting, new in zip(self.unread, tokens, strict=True):
            waiting.extend(new)

    def logits(self, rows: Collection[int]) -> dict[int, Float[Tensor, " vocab"]]:
        """The next-token logits of the given rows, which read what they missed; the others wait.

        Raises BadCheckpoint where they are no numbers.
        """
        import torch

        wanted = [row for row in rows if self.unread[row]]
        if not wanted:
            return {}
        chosen = set(wanted)
        fed = [waiting if row in chosen else [] for row, waiting in enumerate(self.unread)]
        found = self.session.feed(fed, last=True)
        self.calls += 1
        check_numbers(torch.stack([found[row][-1] for row in wanted]), self.model.name)
        for row in wanted:
            self.read[row] += len(self.unread[row])
            self.unread[row] = []
        return {row: found[row][-1] for row in wanted}

    def rollback(self, lengths: Sequence[int]) -> None:
        self.unread = [w[: max(0, n - r)] for w, n, r in zip(self.unread, lengths, self.read, strict=True)]
        self.read = [min(n, r) for n, r in zip(lengths, self.read, strict=True)]
        self.session.rollback(self.read)

    def select(self, rows: Sequence[int]) -> None:
        self.session = self.session.select(rows)
        self.unread, self.read = [list(self.unread[row]) for row in rows], [self.read[row] for row in rows]

    def spent(self) -> list[dict[str, Usage]]:
        return list(self.session.spent())
