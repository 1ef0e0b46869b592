"""What vLLM writes, made here: by the format that its documentation and sources describe, not recorded from a server.

`chat` and `completion` are streams, `whole` and `error` answers of status 200 and others. Names are those of releases
0.6 to 0.25; where a release does it otherwise, an argument says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from tests.models.remote.misbehaving import Ask, Play

DONE = b"data: [DONE]\n\n"
FINGERPRINT = "vllm-0.25.1-tp2-0a1b2c3d"
USAGE = {"prompt_tokens": 11, "total_tokens": 15, "completion_tokens": 4, "prompt_tokens_details": None}
_UNTOLD: dict[str, Any] = {"logprobs": None, "finish_reason": None}


def line(value: Any) -> bytes:
    """An event; vLLM writes JSON without spaces and letters as they are."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def chunk(*choices: dict[str, Any], kind: str = "chat.completion.chunk", **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "m", "choices": list(choices), **more}


def delta(index: int = 0, **said: Any) -> dict[str, Any]:
    """A piece of a chat: what is not said of the choice itself is in its `delta`."""
    own = {name: said.pop(name) for name in ("logprobs", "finish_reason", "stop_reason") if name in said}
    return {"index": index, "delta": said, **_UNTOLD, **own, "token_ids": None}


ROLE = chunk(delta(role="assistant", content=""))
USED = chunk(usage=USAGE)


def chat(*pieces: dict[str, Any], finish: str = "stop", stop: Any = None, joined: bool = False) -> list[bytes]:
    """The events of a chat: role, pieces, an end of its own (or, `joined`, in the last piece), usage, [DONE]."""
    chunks = [chunk(piece) for piece in pieces]
    end = {"finish_reason": finish, "stop_reason": stop}
    if joined:
        chunks[-1]["choices"][0] |= end
    else:
        chunks.append(chunk(delta(**end)))
    return [*map(line, [ROLE, *chunks, USED]), DONE]


def completion(pieces: Iterable[tuple[str, Any]], finish: str = "length") -> list[bytes]:
    """The events of a completion: texts with their logprobs, the end in the last."""
    chunks = []
    for text, logprobs in pieces:
        choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None, "stop_reason": None}
        chunks.append(chunk(choice | {"prompt_logprobs": None}, kind="text_completion", usage=None))
    chunks[-1]["choices"][0]["finish_reason"] = finish
    return [*map(line, [*chunks, chunk(kind="text_completion", usage=USAGE)]), DONE]


def told(*tokens: tuple[str, float]) -> dict[str, Any]:
    """The log-probabilities of a chat's tokens; a part of a character is spelled as U+FFFD, in bytes too."""
    return {
        "content": [
            {"token": token, "logprob": value, "bytes": list(token.encode()), "top_logprobs": []}
            for token, value in tokens
        ]
    }


def offsets(tokens: Sequence[tuple[str, float | None]], start: int = 0) -> dict[str, Any]:
    """The log-probabilities of a completion's tokens."""
    names = [token for token, _ in tokens]
    at = [start + sum(map(len, names[:i])) for i in range(len(names))]
    tops = [None if value is None else {token: value} for token, value in tokens]
    values = [value for _, value in tokens]
    return {"text_offset": at, "token_logprobs": values, "tokens": names, "top_logprobs": tops}


def whole(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    """A chat's answer in one piece, all fields of the message there."""
    empty = {"refusal": None, "annotations": None, "audio": None, "function_call": None, "tool_calls": []}
    said = {"role": "assistant", "content": None, **empty, **message}
    own = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish, "stop_reason": None}
    beside = {"usage": USAGE, "prompt_logprobs": None, "prompt_token_ids": None, "kv_transfer_params": None}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [own | more], **beside}


def error(message: str, kind: str, code: int, *, older: bool = False) -> dict[str, Any]:
    """An error's body; before 0.10 it was not within `error`."""
    inner = {"message": message, "type": kind, "param": None, "code": code}
    return {"object": "error", **inner} if older else {"error": inner}


def played(events: Sequence[bytes], *, cut: int = 0, pause_s: float = 0.0) -> Play:
    """Answers a stream with these events, in pieces of `cut` bytes where it is given."""

    def play(ask: Ask) -> None:
        data = b"".join(events)
        ask.head(headers={"content-type": "text/event-stream; charset=utf-8"})
        for at in range(0, len(data), cut or len(data)):
            ask.send(data[at : at + (cut or len(data))])
            if pause_s:
                time.sleep(pause_s)

    return play
