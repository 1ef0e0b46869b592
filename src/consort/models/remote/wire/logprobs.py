"""What is told of tokens: log-probabilities that can be believed, or None."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

ROUNDING = 1e-4
"""A log-probability above 0 by no more than this is one that was rounded."""

LEAST = -9999.0
"""What some endpoints write for a log-probability that they do not tell."""

_BYTES, _ESCAPE = "bytes:", re.compile(rb"\\x([0-9a-fA-F]{2})")


def told(found: Any) -> tuple[tuple[float | None, ...], tuple[bytes | None, ...]]:
    """Log-probabilities and spellings of tokens, from the `logprobs` of a completion or of a chat."""
    if not isinstance(found, dict):
        return (), ()
    values, tokens = found.get("token_logprobs"), found.get("tokens")
    if values is None and isinstance(found.get("content"), list):
        items = [item if isinstance(item, dict) else {} for item in found["content"]]
        values, tokens = [i.get("logprob") for i in items], [i.get("bytes") or i.get("token") for i in items]
    if not isinstance(values, list):
        return (), ()
    if not isinstance(tokens, list) or len(tokens) != len(values):
        tokens = [None] * len(values)
    return tuple(map(logprob_of, values)), tuple(map(spelled_of, tokens))


def logprob_of(value: Any) -> float | None:
    """A log-probability in nats, at most 0; None for anything else, and for what stands for one that is not told."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST < value <= ROUNDING:
        return None
    return min(float(value), 0.0)


def believed(
    text: str, logprobs: Sequence[float | None], tokens: Sequence[bytes | None], count: int | None
) -> tuple[float, ...] | None:
    """The log-probabilities of an answer's tokens, if all are there: the tokens spell the text, or are as many as told.

    `count`: how many tokens the endpoint says that it wrote.
    """
    known = [value for value in logprobs if value is not None]
    if not known or len(known) < len(logprobs):
        return None
    spelled = [token for token in tokens if token is not None]
    if len(spelled) == len(logprobs):
        written = b"".join(spelled)
        is_whole = text.strip().encode("utf-8", "replace") in written or text.strip() in written.decode(errors="ignore")
        return tuple(known) if is_whole or ("\ufffd".encode() in written and len(known) == count) else None
    return tuple(known) if len(known) == count else None


def spelled_of(token: Any) -> bytes | None:
    """The bytes that a token writes: of a string, of a list of bytes, or of what looks like "bytes:\\xe2\\x80"."""
    if isinstance(token, list) and all(type(byte) is int and 0 <= byte < 256 for byte in token):
        return bytes(token)
    if not isinstance(token, str):
        return None
    written = token.encode("utf-8", "replace")
    if not token.startswith(_BYTES):
        return written
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), written.removeprefix(_BYTES.encode()))
