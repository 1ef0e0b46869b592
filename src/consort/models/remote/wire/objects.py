"""The objects of answers, as a server writes them: what `answers` and `stream` read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from consort.core.types import Usage
from consort.models.remote.wire.logprobs import LEAST

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dumped(value: Any) -> bytes:
    """JSON in UTF-8. Raises ValueError for NaN, which JSON does not have."""
    return _ENCODER.encode(value).encode("utf-8", "replace")


def usage_object(usage: Usage, cached: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    return {**found, "prompt_tokens_details": {"cached_tokens": cached}} if cached else found


def chat_choice(
    index: int, text: str, finish: str, *, calls: Sequence[Mapping[str, Any]] = (), logprobs: Any = None
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        message["tool_calls"] = list(calls)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def text_choice(index: int, text: str, finish: str, *, logprobs: Any = None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


def delta_choice(index: int, delta: Mapping[str, Any], finish: str | None, *, logprobs: Any = None) -> dict[str, Any]:
    return {"index": index, "delta": dict(delta), "logprobs": logprobs, "finish_reason": finish}


def spelled(token: bytes) -> str:
    """A token's bytes as a string; what is no text alone is written as `bytes:\\xe2`."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def chat_logprob(token: bytes, logprob: float | None, top: Iterable[tuple[bytes, float]]) -> dict[str, Any]:
    """A token of a chat's answer, with the likeliest in its place."""
    alternatives = [
        {"token": spelled(other), "logprob": value, "bytes": list(other)} for other, value in top
    ]  # fmt: skip
    value = LEAST if logprob is None else logprob
    return {"token": spelled(token), "logprob": value, "bytes": list(token), "top_logprobs": alternatives}


def completion_logprobs(
    tokens: Sequence[bytes], logprobs: Sequence[float | None], tops: Sequence[Sequence[tuple[bytes, float]]]
) -> dict[str, Any]:
    """The `logprobs` of a completion. A token's entry is among its alternatives; of two with one name the larger."""
    names = [spelled(token) for token in tokens]
    offsets, at = [], 0
    for name in names:
        offsets.append(at)
        at += len(name)
    best: list[dict[str, float] | None] = []
    for name, logprob, top in zip(names, logprobs, tops, strict=True):
        found: dict[str, float] = {}
        own = [] if logprob is None else [(name, logprob)]
        for other, value in (*((spelled(token), value) for token, value in top), *own):
            found[other] = max(value, found.get(other, value))
        best.append(found if logprob is not None or top else None)
    return {"tokens": names, "token_logprobs": list(logprobs), "top_logprobs": best, "text_offset": offsets}
