"""What several readers of the same rows thought of the tokens that came: the log-probability of each, kept by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.types import Usage

Read = Callable[[Sequence[Sequence[int]]], tuple[Float[Tensor, "reader row vocab"], list[int]]]
"""Feeds every reader; log-probabilities after each new token, the batch's rows below each other, and rows of each."""


@dataclass(slots=True)
class Recalled:
    """One row after a feed of `new` tokens."""

    logp: Float[Tensor, "reader new vocab"]
    """Of what follows each new token."""
    seen: Float[Tensor, "token reader"]
    """Of all tokens that the row has after its first."""

    def upto(self, new: int) -> Float[Tensor, "token reader"]:
        """`seen` as it was after the first `new` of the new tokens."""
        return self.seen[: len(self.seen) - self.logp.shape[1] + new]


class Recall:
    """The memory beside a session: `feed` and the others are called as the session's own."""

    def __init__(self, batch: int, read: Read, rollback: Callable[[Sequence[int]], None]) -> None:
        self.read, self.step_back = read, rollback
        self.rows: list[list[int]] = [[] for _ in range(batch)]
        self.seen: list[Tensor | None] = [None] * batch
        self.after: list[Tensor | None] = [None] * batch
        """Log-probabilities, reader by vocabulary, of what follows a row; None: its last token is read again."""
        self.drawn = [0] * batch
        """1 where only the last logits of a row's first feed were wanted: readers, asked for all, cannot know."""

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Recalled]:
        """What every row has after these tokens; `last` only says how the tokens are to be counted."""
        self.drawn = [
            int(last) if new and not row else had for new, row, had in zip(tokens, self.rows, self.drawn, strict=True)
        ]
        again = [
            bool(new) and bool(row) and after is None
            for new, row, after in zip(tokens, self.rows, self.after, strict=True)
        ]
        self.step_back([len(row) - lost for row, lost in zip(self.rows, again, strict=True)])
        logp, counts = self.read(
            [[*(row[-1:] if lost else ()), *new] for row, lost, new in zip(self.rows, again, tokens, strict=True)]
        )
        parts = torch.split(logp, counts, dim=1)
        return [
            self._row(row, new, part, lost)
            for row, (new, part, lost) in enumerate(zip(tokens, parts, again, strict=True))
        ]

    def _row(self, row: int, new: Sequence[int], logp: Tensor, lost: bool) -> Recalled:
        seen, after = self.seen[row], self.after[row]
        if seen is None:
            seen = logp.new_empty(0, len(logp))
        if not len(new):
            return Recalled(logp, seen)
        if after is not None:
            logp = torch.cat([after.unsqueeze(1), logp], dim=1)
        # now row i of logp foretells token i of `told`, and what follows the last token stands at the end
        told = list(new) if lost or after is not None else list(new[1:])
        ids = torch.tensor(told, device=logp.device, dtype=torch.long).view(1, -1, 1).expand(len(logp), -1, 1)
        fresh = logp[:, : len(told)].gather(-1, ids).squeeze(-1).T
        self.rows[row] = [*self.rows[row], *new]
        self.seen[row], self.after[row] = torch.cat([seen, fresh]), logp[:, -1]
        return Recalled(logp[:, -len(new) :], torch.cat([seen, fresh]))

    def rollback(self, lengths: Sequence[int]) -> None:
        self.step_back(lengths)
        for row, length in enumerate(lengths):
            if length < len(self.rows[row]):
                seen = self.seen[row]
                self.rows[row] = self.rows[row][:length]
                self.seen[row] = seen[: length - 1] if length and seen is not None else None
                self.after[row] = None

    def admit(self, rows: int) -> None:
        self.rows += [[] for _ in range(rows)]
        self.seen += [None] * rows
        self.after += [None] * rows
        self.drawn += [0] * rows

    def select(self, rows: Sequence[int]) -> None:
        self.rows = [list(self.rows[row]) for row in rows]
        self.seen = [self.seen[row] for row in rows]
        self.after = [self.after[row] for row in rows]
        self.drawn = [self.drawn[row] if row not in rows[:i] else 0 for i, row in enumerate(rows)]

    def charged(self, costs: Sequence[Mapping[str, Usage]]) -> list[dict[str, Usage]]:
        """The readers' costs, with the token drawn after the prompt (see `cost.Meter`)."""
        return [
            {name: usage + Usage(completion_tokens=drawn) for name, usage in cost.items()}
            for drawn, cost in zip(self.drawn, costs, strict=True)
        ]
