"""The bodies of requests."""

from __future__ import annotations

from typing import Any

from consort.core.types import Prompt, Sampling

COMPLETIONS, CHAT = "/completions", "/chat/completions"
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


def payload(
    model: str, prompt: Prompt, sampling: Sampling, number: int, *, path: str, logprobs: bool, stream: bool = False
) -> dict[str, Any]:
    """The body of a request to `path`, where a string is a user's turn in a chat; `number` picks its seed."""
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
    if path == COMPLETIONS:
        return body | {"prompt": prompt} | ({"logprobs": 1} if logprobs else {})
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
    return body | {"messages": turns} | ({"logprobs": True} if logprobs else {})


def echo_payload(model: str, text: str) -> dict[str, Any]:
    """The body that asks for a text's own log-probabilities."""
    body = {"model": model, "prompt": text, "max_tokens": 1, "temperature": 0}
    return body | {"logprobs": 1, "echo": True}
