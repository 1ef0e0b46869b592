"""The OpenAI wire format, as a client writes and reads it; what is not as it should be is `Broken`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from consort.core.types import Completion, Prompt, Sampling, Usage

_DEFAULT = Sampling()
_ALWAYS = ("max_tokens", "temperature")
_OPTIONAL = (
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "min_tokens",
)
"""Sent where they are set; those after `presence_penalty` are extensions that not every endpoint knows."""


class Broken(Exception):
    """An answer that is not in the format."""


def payload(
    model: str, prompt: Prompt, sampling: Sampling, number: int, *, logprobs: bool, stream: bool = False
) -> dict[str, Any]:
    """The body of a request to /completions for a string, to /chat/completions for a chat; `number` picks its seed."""
    body: dict[str, Any] = {"model": model, **{name: getattr(sampling, name) for name in _ALWAYS}}
    set_ = {name: getattr(sampling, name) for name in _OPTIONAL}
    body |= {name: value for name, value in set_.items() if value != getattr(_DEFAULT, name)}
    body["seed"] = sampling.seeds[number] if sampling.seeds else sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if isinstance(prompt, str):
        return body | {"prompt": prompt} | ({"logprobs": 1} if logprobs else {})
    return body | {"messages": [dict(m) for m in prompt]} | ({"logprobs": True} if logprobs else {})


def completion_of(answer: Any, name: str) -> Completion:
    """The completion in an answer to either kind of request. Raises Broken."""
    choice = _choice(answer)
    message = choice.get("message")
    text = _typed(message, dict, "message").get("content") if message is not None else choice.get("text")
    logprobs = logprobs_of(choice.get("logprobs"))
    return Completion(
        "" if text is None and message is not None else _typed(text, str, "text"),
        logprob=None if logprobs is None else sum(logprobs),
        finish_reason=_finish(choice.get("finish_reason")),
        usage=usage_of(answer),
        details={} if logprobs is None else {"logprobs": tuple(logprobs)},
    )


def logprobs_of(found: Any) -> list[float] | None:
    """Log-probabilities of the tokens, in the form of a completion or of a chat; None if any is missing."""
    if not isinstance(found, dict):
        return None
    values = found.get("token_logprobs")
    if values is None and isinstance(found.get("content"), list):
        values = [item.get("logprob") if isinstance(item, dict) else None for item in found["content"]]
    if not isinstance(values, list) or not all(_is_logprob(value) for value in values):
        return None
    return [float(value) for value in values]


def echoed_logprob(answer: Any, start: int, stop: int) -> float | None:
    """Summed log-probability of the echoed tokens that begin at characters `start` to `stop`; None if not told."""
    found = _choice(answer).get("logprobs")
    if not isinstance(found, dict):
        return None
    values, offsets = found.get("token_logprobs"), found.get("text_offset")
    if not isinstance(values, list) or not isinstance(offsets, list) or len(values) != len(offsets):
        return None
    chosen = [v for v, at in zip(values, offsets, strict=True) if isinstance(at, int) and start <= at < stop]
    if (stop > start and not chosen) or not all(_is_logprob(v) for v in chosen):
        return None
    return float(sum(chosen))


def usage_of(answer: dict[str, Any]) -> Usage:
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    read, written = (counts.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return Usage(read if isinstance(read, int) else 0, written if isinstance(written, int) else 0, 1)


@dataclass(slots=True)
class _Heard:
    """What has come of a stream."""

    text: list[str] = field(default_factory=list)
    logprobs: list[float] | None = field(default_factory=list)
    finish: str | None = None
    usage: Usage = Usage(calls=1)


def stream_of(lines: Iterator[str], name: str, gone: Callable[[], bool]) -> Generator[str, None, Completion]:
    """Pieces of text from the lines of an event stream; the completion at the end. Raises Broken if it breaks off."""
    heard, done = _Heard(), False
    for line in lines:
        if gone():
            heard.finish, done = "cancelled", True
            break
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            done = True
            break
        piece = _heard(json_of(data), heard)
        if piece:
            yield piece
    if not done and heard.finish is None:
        raise Broken("the stream breaks off")
    told = heard.logprobs or None
    return Completion(
        "".join(heard.text),
        logprob=None if told is None else sum(told),
        finish_reason=heard.finish or "stop",
        usage=heard.usage,
        details={} if told is None else {"logprobs": tuple(told)},
    )


def _heard(event: Any, heard: _Heard) -> str:
    if isinstance(event, dict) and "error" in event:
        raise Broken(f"the stream ends with an error: {error_message(event)}")
    choices = _typed(_typed(event, dict, "event").get("choices"), list, "choices")
    if isinstance(event.get("usage"), dict):
        heard.usage = usage_of(event)
    if not choices:
        return ""
    choice = _typed(choices[0], dict, "choice")
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    if choice.get("finish_reason") is not None:
        heard.finish = _finish(choice["finish_reason"])
    if not text:
        return ""
    heard.text.append(_typed(text, str, "text"))
    values = logprobs_of(choice.get("logprobs"))
    heard.logprobs = None if values is None or heard.logprobs is None else [*heard.logprobs, *values]
    return heard.text[-1]


def json_of(text: str | bytes) -> Any:
    """A JSON value without NaN or infinities. Raises Broken."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise Broken("answers with something that is not JSON") from None


def error_message(answer: Any) -> str:
    """What an error object says, in one line."""
    error = answer.get("error") if isinstance(answer, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(said or "no reason given").split())[:300]


def error_code(answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    return str(error.get("code")) if isinstance(error, dict) else ""


def _choice(answer: Any) -> dict[str, Any]:
    choices = _typed(_typed(answer, dict, "answer").get("choices"), list, "choices")
    if not choices:
        raise Broken("answers without a choice")
    return dict(_typed(choices[0], dict, "choice"))


def _typed(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise Broken(f"{what} is not a {kind.__name__}")
    return value


def _finish(reason: Any) -> str:
    return "length" if reason == "length" else "stop"


def _is_logprob(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
