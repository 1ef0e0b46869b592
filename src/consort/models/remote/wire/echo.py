"""The score of a given text, from the tokens that an endpoint echoes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from consort.models.remote.wire.logprobs import logprob_of, spelled_of

_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"
"""How sentencepiece writes a space."""


class Untold(Exception):
    """The endpoint does not tell how likely a given text is."""


def echoed_logprob(choice: Mapping[str, Any], context: str, continuation: str) -> float:
    """Summed log-probability (nats) of the continuation's tokens in an echo of both. Raises Untold.

    As in models/decoding/score.py trailing spaces of the context move over, so a token that begins with them is the
    continuation's. One that begins with the context's letters would have to be shared: a local model, which reads the
    context's own tokens, has another figure for that, so it is refused. The echoed tokens must spell the text: where
    they are not told, the echoed text cut at the offsets of its tokens.
    """
    found = choice.get("logprobs")
    values = found.get("token_logprobs") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(values, list) or not values:
        raise Untold("does not tell log-probabilities of given text")
    text, kept = (context + continuation).encode("utf-8", "replace"), len(context.rstrip().encode("utf-8", "replace"))
    spans = _spans(choice, found, values, text)
    if any(start < kept < end for start, end in spans):
        raise Untold("has a token with letters of both context and continuation; end the context with a word")
    chosen = [
        logprob_of(value) for (start, end), value in zip(spans, values, strict=True) if end > kept and start < len(text)
    ]
    known = [value for value in chosen if value is not None]
    if len(known) < len(chosen):
        first = "" if context.rstrip() else "; before the first token there is nothing: give a context"
        raise Untold(f"does not tell the log-probability of a token of the continuation{first}")
    return float(sum(known))


def _spans(
    choice: Mapping[str, Any], found: Mapping[str, Any], values: Sequence[Any], text: bytes
) -> list[tuple[int, int]]:
    """Where in `text` (bytes) each echoed token begins and ends."""
    for tokens in _readings(choice, found, len(values), text):
        ends = list(accumulate(map(len, tokens)))
        begin = _begin(b"".join(tokens), ends[0] if values[0] is None else 0, text)
        if begin is not None and begin + len(text) in ends:
            spans = [(end - len(token) - begin, end - begin) for token, end in zip(tokens, ends, strict=True)]
            for i in range(len(spans) - 2, -1, -1):  # a token without letters belongs to what the next one writes
                if not tokens[i] and (i or values[0] is not None):
                    spans[i] = spans[i + 1]
            return spans
    raise Untold("echoes another text than it was given, or tokens that do not spell it")


def _begin(written: bytes, first: int, text: bytes) -> int | None:
    """Where `text` begins in what the tokens write: at once, after a first token of no likelihood (a mark of the

    beginning), or after the space that some tokenizers put before a text.
    """
    for begin in dict.fromkeys((0, first)):
        for space in (b"", b" "):
            if written.startswith(space + text, begin):
                return begin + len(space)
    return None


def _readings(choice: Mapping[str, Any], found: Mapping[str, Any], count: int, text: bytes) -> Iterator[list[bytes]]:
    """What the tokens may write: as they stand, or as pieces of sentencepiece."""
    tokens, offsets, whole = found.get("tokens"), _list(found.get("text_offset")), choice.get("text")
    if isinstance(tokens, list) and len(tokens) == count and all(isinstance(token, str) for token in tokens):
        yield [spelled_of(token) or b"" for token in tokens]
        yield [_piece(token) for token in tokens]
    elif tokens is None and isinstance(whole, str) and _cuts(offsets, count, whole, text):
        yield [whole[a:b].encode() for a, b in zip(offsets, [*offsets[1:], len(whole)], strict=True)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _cuts(offsets: list[Any], count: int, whole: str, text: bytes) -> bool:
    """Whether offsets cut an echoed text; one that is not ASCII could be counted in characters or in bytes."""
    if len(offsets) != count or not whole.isascii():
        return False
    rises = all(type(at) is int for at in offsets) and offsets[0] == 0 and offsets == sorted(offsets)
    return rises and bool(offsets[-1] <= len(whole)) and whole.encode().startswith(text)


def _piece(token: str) -> bytes:
    found = _PIECE.fullmatch(token)
    return bytes([int(found[1], 16)]) if found else token.replace(_SPACE, " ").encode("utf-8", "replace")
