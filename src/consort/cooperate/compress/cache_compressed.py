"""A smaller cache: once a prompt has been read, its positions that matter least are forgotten, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.compress import strategy
from consort.cooperate.compress.eviction import Eviction, Held
from consort.core.errors import Unsupported
from consort.core.params import Range
from consort.core.types import Usage
from consort.models.abilities import check_unbounded
from consort.models.base import Session
from consort.models.token_model import TokenModel


@strategy(paper="2406.11430", example={"eviction": "recent"})
class CacheCompressed(TokenModel):
    """Keep ceil((1 - ratio) L) positions of a prompt of L tokens in each layer, and answer from those.

    `eviction` (`consort methods --kind eviction`) says which. The prompt is what a row is first fed; what follows it is
    kept whole and stands at its own position. A row that steps back into its prompt is read anew. Local models on the
    lean pass only, without sliding windows; others are refused by name.
    """

    def __init__(self, model: TokenModel, eviction: Eviction, *, ratio: Annotated[float, Range(0, 1)] = 0.5) -> None:
        self.model, self.eviction, self.ratio = model, eviction, ratio
        self.name = f"cache_compressed({model.name})"
        self.tokenizer, self.window, self.batch_tokens = model.tokenizer, model.window, model.batch_tokens

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return (self.model,)

    @property
    def ends(self) -> frozenset[int]:
        return self.model.ends

    def open(self, batch: int = 1) -> Session:
        inner: Any = self.model.open(batch)
        if not (hasattr(inner, "put_slots") and hasattr(inner, "lean")):
            hint = "a single local model of Llama's, Mistral's, Qwen2's or Qwen3's family"
            raise Unsupported("does not open its cache", field=self.model.name, hint=hint)
        check_unbounded(inner.lean.windows, self.model.name)
        return EvictingSession(inner, self.eviction, self.ratio, [_Row() for _ in range(batch)])


@dataclass(slots=True)
class _Row:
    """All tokens of a row; of the first `cut` only `kept` positions are held. `unread`: none of them are."""

    tokens: list[int] = field(default_factory=list)
    cut: int = 0
    kept: int = 0
    unread: int = 0

    @property
    def begins(self) -> bool:
        return self.cut == 0

    def copy(self) -> _Row:
        return _Row(list(self.tokens), self.cut, self.kept, self.unread)


class EvictingSession:
    """A lean session whose rows forget a part of what they are first fed."""

    def __init__(self, inner: Any, eviction: Eviction, ratio: float, rows: list[_Row]) -> None:
        self.inner, self.eviction, self.ratio, self.rows = inner, eviction, ratio, rows

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        given = [[*row.tokens[: row.unread], *new] if new else [] for row, new in zip(self.rows, tokens, strict=True)]
        first = [bool(new) and row.begins for row, new in zip(self.rows, tokens, strict=True)]
        states: list[Any] = [None] * len(given)
        if any(first) and self.eviction.needs_states:
            layers = range(len(self.inner.lean.layers))
            found = self.inner.feed_hidden(given, list(layers))
            logits, states = [one.logits for one in found], [one.hidden for one in found]
        else:
            logits = self.inner.feed(given, last=last)
        for number, (row, new) in enumerate(zip(self.rows, tokens, strict=True)):
            if new:
                row.tokens = [*row.tokens, *new]
                row.unread = 0
            if first[number]:
                self._evict(number, row, states[number])
        return [
            own[len(own) - (min(1, len(new)) if last else len(new)) :] for own, new in zip(logits, tokens, strict=True)
        ]

    @torch.no_grad()
    def _evict(self, number: int, row: _Row, states: Tensor | None) -> None:
        length = len(row.tokens)
        row.cut, row.kept = length, math.ceil((1 - self.ratio) * length)
        if row.kept == length:
            return
        keys, values = (store[:, number, :, :length] for store in (self.inner.keys, self.inner.values))
        scores = self.eviction.scores(Held(keys, values, self.inner.lean, states))
        best = scores.argsort(dim=-1, descending=True, stable=True)[..., : row.kept].sort(-1).values
        at = best[..., None].expand(*best.shape, keys.shape[-1])
        self.inner.put_slots(number, keys.gather(2, at), values.gather(2, at), length)

    def rollback(self, lengths: Sequence[int]) -> None:
        inner = []
        for row, length in zip(self.rows, lengths, strict=True):
            row.tokens = row.tokens[:length]
            length = len(row.tokens)
            if row.cut and length >= row.cut:
                inner.append(row.kept + length - row.cut)
            else:
                row.cut = row.kept = 0
                row.unread = length
                inner.append(0)
        self.inner.rollback(inner)

    def select(self, rows: Sequence[int]) -> EvictingSession:
        chosen = [self.rows[row].copy() for row in rows]
        return EvictingSession(self.inner.select(rows), self.eviction, self.ratio, chosen)

    def spent(self) -> list[dict[str, Usage]]:
        found: list[dict[str, Usage]] = self.inner.spent()
        return found
