"""What is told of tokens, in the words of a model: bytes of each token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from consort.models.tokens.pieces import token_bytes
from consort.server.scheduler.ticket import Told


@lru_cache(maxsize=64)
def spellings(tokenizer: Any) -> tuple[bytes, ...]:
    """The bytes of every token; the name of one that is no text (bos, eos)."""
    inner = getattr(tokenizer, "tokenizer", None)
    found = []
    for i, piece in enumerate(token_bytes(tokenizer)):
        if piece is None:
            name = str(inner.convert_ids_to_tokens(i)) if inner is not None else _name(tokenizer, i)
            piece = name.encode("utf-8", "replace")
        found.append(piece)
    return tuple(found)


def _name(tokenizer: Any, token: int) -> str:
    return "<eos>" if token == tokenizer.eos else "<bos>" if token == tokenizer.bos else f"<{token}>"


def spelled_tokens(tokenizer: Any, told: Sequence[Told]) -> list[tuple[bytes, float | None, list[tuple[bytes, float]]]]:
    """Bytes, log-probability and alternatives of each token."""
    names: tuple[bytes, ...] = () if tokenizer is None else spellings(tokenizer)

    def name(token: int | bytes) -> bytes:
        if isinstance(token, bytes):
            return token
        return names[token] if 0 <= token < len(names) else b"<%d>" % token

    return [(name(one.token), one.logprob, [(name(i), value) for i, value in one.top]) for one in told]
