"""What is said over the wire, as values: a choice, an answer; and JSON read with care."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consort.core.types import Usage


class Broken(Exception):
    """An answer that is not in the format."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer, or one piece of it.

    `finish` is None where nothing is told. `logprobs` are of the tokens in nats, None for one that is missing or
    impossible; `tokens` how they are spelled, None where that is not told. Both are () where no token is told of.
    `calls` are the tool calls as they came.
    """

    text: str
    finish: str | None = None
    logprobs: tuple[float | None, ...] = ()
    tokens: tuple[bytes | None, ...] = ()
    refusal: str = ""
    reasoning: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The choice that was asked for, and what it cost; `counts` tells whether the endpoint counted its tokens."""

    choice: Choice
    usage: Usage
    counts: bool


def json_of(text: str | bytes) -> Any:
    """A JSON value; NaN and the infinities, which JSON does not have, are None. Raises Broken."""
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise Broken("answers with something that is not JSON") from None


def typed(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise Broken(f"{what} is not a {kind.__name__}")
    return value


def first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The choice of index 0, wherever it stands; a choice without an index has that of its place. Raises Broken."""
    choices = answer.get("choices")
    for place, choice in enumerate(typed([] if choices is None else choices, list, "choices")):
        index = typed(choice, dict, "choice").get("index")
        if (place if index is None else index) == 0:
            found: Mapping[str, Any] = choice
            return found
    return None


def speaker_of(answer: Any) -> dict[str, str]:
    """What an answer, or a piece of one, says of who gives it: the model's name and the fingerprint of its system."""
    told = answer if isinstance(answer, dict) else {}
    return {name: told[name] for name in ("model", "system_fingerprint") if isinstance(told.get(name), str)}


def usage_of(answer: Mapping[str, Any]) -> Usage | None:
    """Tokens read and written as the endpoint counts them, of one call; None where it does not count."""
    told = answer.get("usage")
    if not isinstance(told, dict):
        return None
    read, written = (told.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return Usage(_count(read), _count(written), 1)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
