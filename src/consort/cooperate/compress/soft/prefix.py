"""Contexts that were encoded once, as the beginning of sessions: vectors that are fed, or keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Float

from consort.core.types import Usage
from consort.models.abilities import with_embeddings, with_slots
from consort.models.base import Session

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Prefix:
    """A context in a reader's own terms: `vectors` to be read as embeddings, or `keys` and `values` of each layer.

    `positions` is where the text goes on: what the context took, not how many slots are left of it.
    """

    positions: int
    vectors: Float[Tensor, "slot size"] | None = None
    keys: Float[Tensor, "layer head slot size"] | None = None
    values: Float[Tensor, "layer head slot size"] | None = None

    @property
    def slots(self) -> int:
        if self.vectors is not None:
            return len(self.vectors)
        return 0 if self.keys is None else self.keys.shape[2]


class Opened:
    """The reader for one batch of rows that begin with prefixes: all that decoding and scoring ask of one."""

    def __init__(self, reader: Any, prefixes: Sequence[Prefix]) -> None:
        self.reader, self.prefixes = reader, list(prefixes)
        self.name, self.tokenizer, self.batch_tokens = reader.name, reader.tokenizer, reader.batch_tokens
        taken = max((max(p.positions, p.slots) for p in prefixes), default=0)
        self.window: int | None = None if reader.window is None else max(0, reader.window - taken)
        self.ends: frozenset[int] = reader.ends

    def open(self, batch: int = 1) -> Session:
        assert batch == len(self.prefixes)
        session = self.reader.open(batch)
        for row, prefix in enumerate(self.prefixes):
            if prefix.keys is not None and prefix.values is not None:
                with_slots(session, self.name).put_slots(row, prefix.keys, prefix.values, prefix.positions)
        vectors = [prefix.vectors for prefix in self.prefixes]
        if any(own is not None for own in vectors):
            with_embeddings(session, self.name)
        return PrefixedSession(session, [p.slots for p in self.prefixes], vectors, self.embed)

    def embed(self, tokens: Sequence[int]) -> Float[Tensor, "token size"]:
        """The reader's own embeddings of tokens."""
        import torch

        table = self.reader.module.get_input_embeddings()
        with torch.no_grad():
            found: Tensor = table(torch.tensor(list(tokens), dtype=torch.long, device=table.weight.device))
        return found


class PrefixedSession:
    """A session whose rows begin with slots that its user does not count; vectors are read with the first tokens."""

    def __init__(
        self,
        session: Any,
        slots: Sequence[int],
        vectors: Sequence[Float[Tensor, "slot size"] | None],
        embed: Callable[[Sequence[int]], Float[Tensor, "token size"]],
    ) -> None:
        self.session, self.slots, self.vectors, self.embed = session, list(slots), list(vectors), embed

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        if all(own is None for own in self.vectors):
            found: list[Tensor] = self.session.feed(tokens, last=last)
            return found
        import torch

        rows = [
            self.embed(new) if own is None else torch.cat([own, self.embed(new).to(own)])
            for new, own in zip(tokens, self.vectors, strict=True)
        ]
        lead = [0 if own is None else len(own) for own in self.vectors]
        self.vectors = [None] * len(self.vectors)
        logits: list[Tensor] = self.session.feed_embeddings(rows, last=last)
        if last:
            return [own if new else own[:0] for own, new in zip(logits, tokens, strict=True)]
        return [own[n:] for own, n in zip(logits, lead, strict=True)]

    def rollback(self, lengths: Sequence[int]) -> None:
        whole = [n if own is not None else n + s for n, s, own in zip(lengths, self.slots, self.vectors, strict=True)]
        self.session.rollback(whole)

    def select(self, rows: Sequence[int]) -> PrefixedSession:
        kept = [self.vectors[row] for row in rows]
        return PrefixedSession(self.session.select(rows), [self.slots[row] for row in rows], kept, self.embed)

    def spent(self) -> list[dict[str, Usage]]:
        found: list[dict[str, Usage]] = self.session.spent()
        return found
