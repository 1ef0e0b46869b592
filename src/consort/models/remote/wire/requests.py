"""The bodies of requests."""

from __future__ import annotations

import json
from typing import Any

from consort.core.types import Grammar, Prompt, Sampling

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
    if sampling.grammar is not None:
        body |= grammar_fields(sampling.grammar)
    if path == COMPLETIONS:
        return body | {"prompt": prompt} | ({"logprobs": 1} if logprobs else {})
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [_turn(m) for m in prompt]
    tools = getattr(prompt, "tools", ())
    body |= {"tools": [dict(tool) for tool in tools]} if tools else {}
    return body | {"messages": turns} | ({"logprobs": True} if logprobs else {})


def grammar_fields(grammar: Grammar) -> dict[str, Any]:
    """What an answer must be, as requests say it: `response_format`, or vLLM's `guided_*`."""
    if grammar.kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if grammar.kind == "json_schema":
        schema = {"name": "answer", "schema": json.loads(grammar.text), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    value = json.loads(grammar.text) if grammar.kind == "choice" else grammar.text
    return {f"guided_{grammar.kind}": value}


def echo_payload(model: str, text: str) -> dict[str, Any]:
    """The body that asks for a text's own log-probabilities."""
    body = {"model": model, "prompt": text, "max_tokens": 1, "temperature": 0}
    return body | {"logprobs": 1, "echo": True}


def _turn(message: Any) -> dict[str, Any]:
    """A message as it is sent: arguments of tool calls as JSON in a string."""
    turn = dict(message)
    if turn.get("tool_calls"):
        turn["tool_calls"] = [_call(call) for call in turn["tool_calls"]]
    return turn


def _call(call: Any) -> dict[str, Any]:
    function = dict(call["function"])
    if not isinstance(function.get("arguments"), str):
        function["arguments"] = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
    return {**call, "function": function}
