"""A verifier guides a model by Bayes' rule: log p(x | s) + lambda log p(attribute | s, x) for the likeliest x."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.core.types import Usage
from consort.models.base import Session
from consort.models.cost import joined
from consort.models.token_model import TokenModel

Prefixes = Sequence[Sequence[int]]
Verify = Callable[[Prefixes, Int[Tensor, "row candidate"]], Float[Tensor, "row candidate"]]
"""Log-probability of the attribute if each candidate followed its prefix."""


class Verifier(Protocol):
    """What judges candidates in one session; rows are those of the session, None where a row is not asked about."""

    def __call__(
        self, prefixes: Sequence[Sequence[int] | None], candidates: Int[Tensor, "row candidate"]
    ) -> Float[Tensor, "row candidate"]: ...

    def select(self, rows: Sequence[int]) -> None: ...

    def spent(self) -> list[dict[str, Usage]]: ...


class Guided(TokenModel):
    """A model guided by a function; all but the `top_k` likeliest tokens are left out (all of them: exact)."""

    def __init__(self, model: TokenModel, verify: Verify | None, *, top_k: int = 200, lambda_: float = 1.0) -> None:
        self.model, self.verify, self.top_k, self.lambda_ = model, verify, top_k, lambda_
        self.tokenizer, self.window, self.batch_tokens = model.tokenizer, model.window, model.batch_tokens
        self.name = f"guided({model.name})"

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return (self.model,)

    @property
    def ends(self) -> frozenset[int]:
        return self.model.ends

    def verifier(self, batch: int) -> Verifier:
        """A verifier for a session of so many rows."""
        if self.verify is None:
            raise NotImplementedError("a subclass that has no function makes its own verifier")
        return _Function(self.verify, batch)

    def open(self, batch: int = 1) -> Session:
        return _Session(self, batch)


class _Function:
    """A function as a verifier; it costs no tokens."""

    def __init__(self, verify: Verify, batch: int) -> None:
        self.verify, self.batch = verify, batch

    def __call__(self, prefixes: Sequence[Sequence[int] | None], candidates: Tensor) -> Tensor:
        asked = [row for row, prefix in enumerate(prefixes) if prefix is not None]
        found = torch.zeros(candidates.shape, device=candidates.device)
        found[asked] = self.verify([list(prefixes[row] or ()) for row in asked], candidates[asked]).to(found)
        return found

    def select(self, rows: Sequence[int]) -> None:
        self.batch = len(rows)

    def spent(self) -> list[dict[str, Usage]]:
        return [{} for _ in range(self.batch)]


class _Session:
    def __init__(self, owner: Guided, batch: int) -> None:
        self.owner = owner
        self.session, self.verifier = owner.model.open(batch), owner.verifier(batch)
        self.rows: list[list[int]] = [[] for _ in range(batch)]

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        logits = self.session.feed(tokens, last=last)
        before = [len(row) for row in self.rows]
        self.rows = [[*row, *new] for row, new in zip(self.rows, tokens, strict=True)]
        scores = [torch.full_like(x, -torch.inf) for x in logits]
        for step in range(max(map(len, logits), default=0)):
            at = [
                (len(row) if last else old + step + 1) if step < len(x) else None
                for row, old, x in zip(self.rows, before, logits, strict=True)
            ]
            self._score(step, at, logits, scores)
        return scores

    def _score(self, step: int, at: Sequence[int | None], logits: list[Tensor], scores: list[Tensor]) -> None:
        """Fill in row `step` of the scores of every row that is `at` a length."""
        width = logits[0].shape[-1]
        logp = torch.stack(
            [x.new_zeros(width) if n is None else x[step].log_softmax(-1) for n, x in zip(at, logits, strict=True)]
        )
        values, candidates = logp.topk(min(self.owner.top_k, width), dim=-1)
        if self.owner.lambda_:
            prefixes = [None if n is None else row[:n] for n, row in zip(at, self.rows, strict=True)]
            values = values + self.owner.lambda_ * self.verifier(prefixes, candidates)
        for row, n in enumerate(at):
            if n is not None:
                scores[row][step].scatter_(0, candidates[row], values[row])

    def rollback(self, lengths: Sequence[int]) -> None:
        self.session.rollback(lengths)
        self.rows = [row[:length] for row, length in zip(self.rows, lengths, strict=True)]

    def select(self, rows: Sequence[int]) -> _Session:
        self.session = self.session.select(rows)
        self.verifier.select(rows)
        self.rows = [list(self.rows[row]) for row in rows]
        return self

    def spent(self) -> list[dict[str, Usage]]:
        owner, other = self.owner, getattr(self.owner, "verifier_model", None)
        return [
            joined(owner, [(owner.model, own), *([(other, judged)] if other is not None else [])])
            for own, judged in zip(self.session.spent(), self.verifier.spent(), strict=True)
        ]
