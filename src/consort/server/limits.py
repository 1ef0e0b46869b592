"""Every cap of the server in one table, shown by `consort serve --help` and named by the error that enforces it."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps of requests; `queue` and `deadline_s` may be set when serving."""

    body_bytes: int = 8 * 2**20
    """Bytes of a request's body."""
    body_s: float = 20.0
    """Seconds in which a body must have come."""
    head_s: float = 15.0
    """Seconds in which a request's head must have come."""
    header_bytes: int = 32 * 2**10
    """Bytes of a request's head."""
    queue: int = 128
    """Requests under way or waiting at once; others are told to come back."""
    prompts: int = 512
    """Prompts of one request."""
    n: int = 16
    """Answers to one prompt."""
    answers: int = 1024
    """Answers to one request: prompts times n."""
    max_tokens: int = 1_000_000
    """Tokens of an answer that may be asked for; the model's window is a bound too."""
    top_logprobs: int = 20
    """Alternatives of a token."""
    stop: int = 16
    """Strings that end an answer."""
    stop_characters: int = 512
    """Characters of one of them."""
    messages: int = 4096
    """Messages of a chat."""
    tools: int = 256
    """Tools of a request."""
    logit_bias: int = 2048
    """Tokens with a bias."""
    deadline_s: float = 600.0
    """Seconds in which an answer must be whole."""
    drain_s: float = 30.0
    """Seconds in which requests may end when the server stops."""


def table() -> str:
    """The caps as lines `name value`."""
    return "\n".join(f"{field.name} {getattr(Limits(), field.name):g}" for field in fields(Limits))
