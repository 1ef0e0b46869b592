"""Whole answers: from JSON to a completion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from consort.core.types import Completion, Usage
from consort.models.remote.wire.errors import is_error, reported
from consort.models.remote.wire.logprobs import believed, told
from consort.models.remote.wire.values import Answer, Broken, Choice, first_choice, typed, usage_of

FINISHES = {
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "function_call": "tool_calls",
}
"""Other words for the reasons that are known."""

GIVEN_UP = ("abort", "error")
"""How an engine says that it has ended an answer before its end: it shuts down, sleeps, or has failed."""

USUAL = ("stop", "length", "cancelled")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


def answer_of(answer: Any) -> Answer:
    """The choice of index 0 of an answer to either kind of request. Raises Broken, or Reported for an error."""
    body = typed(answer, dict, "answer")
    if is_error(body):
        raise reported(body)
    choice = first_choice(body)
    if choice is None:
        raise Broken("answers without a choice")
    usage, found = usage_of(body), choice_of(choice)
    check_given(found)
    return Answer(found, usage or Usage(calls=1), usage is not None)


def check_given(choice: Choice) -> None:
    """Raise Broken for an answer, or the last piece of one, that the engine has given up."""
    if choice.finish in GIVEN_UP:
        raise Broken(f"gives an answer up before its end ({choice.finish})")


def raw_choice(answer: Any) -> Mapping[str, Any]:
    """The choice of index 0 as it came. Raises as `answer_of`."""
    body = typed(answer, dict, "answer")
    if is_error(body):
        raise reported(body)
    choice = first_choice(body)
    if choice is None:
        raise Broken("answers without a choice")
    return choice


def choice_of(choice: Mapping[str, Any], *, is_piece: bool = False) -> Choice:
    """A choice of an answer (`message` or `text`) or of a piece of a stream (`delta` or `text`), which may be empty."""
    said = choice.get("message", choice.get("delta"))
    is_chat = said is not None or ("text" not in choice and "delta" in choice)
    message = typed({} if said is None else said, dict, "message")
    text = message.get("content") if is_chat else choice.get("text")
    if isinstance(text, list):
        text = "".join(part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str))
    logprobs, tokens = told(choice.get("logprobs"))
    calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    return Choice(
        "" if text is None and (is_chat or is_piece) else typed(text, str, "text"),
        _finish(choice.get("finish_reason")),
        logprobs,
        tokens,
        refusal=_text(message.get("refusal")),
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning")),
        calls=tuple(call for call in calls if isinstance(call, dict)) if isinstance(calls, list) else (),
    )


def completion_of(answer: Answer) -> Completion:
    """The completion in an answer. `details` have what does not fit into a text: refusal, reasoning, tool_calls."""
    choice = answer.choice
    count = answer.usage.completion_tokens if answer.counts else None
    logprobs = believed(choice.text, choice.logprobs, choice.tokens, count)
    beside = {"refusal": choice.refusal, "tool_calls": choice.calls, "reasoning": choice.reasoning}
    details: dict[str, Any] = {name: value for name, value in beside.items() if value}
    if logprobs is not None:
        details["logprobs"] = logprobs
        if None not in choice.tokens and len(choice.tokens) == len(logprobs):
            details["spelled"] = choice.tokens
    return Completion(
        choice.text,
        logprob=None if logprobs is None else sum(logprobs),
        finish_reason=ended(choice),
        usage=answer.usage,
        details=details,
    )


def ended(choice: Choice) -> str:
    """Why an answer ended: as told, or as an empty answer with a refusal, tool calls or reasoning alone tells."""
    finish = choice.finish or "stop"
    if finish not in USUAL or choice.text:
        return finish
    if choice.refusal:
        return "refusal"
    if finish == "stop" and choice.calls:
        return "tool_calls"
    return "reasoning" if choice.reasoning else finish


def _finish(reason: Any) -> str | None:
    if reason is None:
        return None
    if not isinstance(reason, str) or not _WORD.fullmatch(reason):
        return "unknown"
    return FINISHES.get(reason.lower(), reason.lower())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
