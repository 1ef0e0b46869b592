"""What an answer says of how it came about: headers, and the object `consort` in its body."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from consort.core.types import add_cost
from consort.server.errors import LATE
from consort.server.http import ascii_header, plain
from consort.server.request import Answer, Context, Request
from consort.server.table import Served

TOLD = ("chosen", "answered_by", "scores", "confidence", "votes", "why", "speculation", "attribution", "levels")
"""What of an answer's details is passed on, where it is there."""


def account(served: Served, request: Request, context: Context, answers: Sequence[Answer]) -> dict[str, Any]:
    """Members that were asked, who was chosen and why, who was dropped, and what each inner model did."""
    _merge(context, answers)
    cost = add_cost(*(answer.completion.cost for answer in answers))
    shown = {
        name: {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "calls": usage.calls,
            "seconds": round(usage.seconds, 6),
        }
        for name, usage in cost.items()
    }
    found: dict[str, Any] = {
        "strategy": served.strategy,
        "members": context.asked or list(cost),
        "dropped": dict(context.dropped),
        "cost": shown,
        "seconds": round(time.perf_counter() - context.begun, 6),
    }
    chosen = chosen_of(answers)
    if chosen:
        found["chosen"] = chosen
    for name in TOLD:
        values = [answer.completion.details[name] for answer in answers if name in answer.completion.details]
        if values and name != "chosen":
            found[name] = plain(values[0] if len(answers) == 1 else values)
    return found


def chosen_of(answers: Sequence[Answer]) -> str:
    """The member whose answer it is, of a router or a cascade."""
    for answer in answers:
        for name in ("chosen", "answered_by"):
            value = answer.completion.details.get(name)
            if isinstance(value, str) and value:
                return value
    return ""


def _merge(context: Context, answers: Sequence[Answer]) -> None:
    """Enter who was left out, as strategies tell it, beside what the server saw itself."""
    for answer in answers:
        details = answer.completion.details
        for name, why in dict(details.get("failed", {})).items():
            said = str(why)
            reason = "timeout" if any(words in said for words in LATE) else "error"
            context.dropped.setdefault(name, "nonfinite" if "not numbers" in said else reason)
        for name in details.get("left_out", {}):
            context.dropped.setdefault(name, "nonfinite")
        asked = details.get("asked", ())
        for name in asked if isinstance(asked, list | tuple) else ():
            if name not in context.asked:
                context.asked.append(str(name))


def headers(served: Served, context: Context, answers: Sequence[Answer] | None) -> dict[str, str]:
    """The header fields of an answer; of a stream what is known when it begins."""
    _merge(context, answers or ())
    found = {"x-consort-request-id": context.id, "x-consort-strategy": served.strategy}
    if context.asked:
        found["x-consort-members"] = ascii_header(", ".join(context.asked))
    chosen = chosen_of(answers or ())
    if chosen:
        found["x-consort-chosen"] = ascii_header(chosen)
    if context.dropped:
        dropped = ", ".join(f"{name}:{reason}" for name, reason in context.dropped.items())
        found |= {"x-consort-dropped": ascii_header(dropped), "x-consort-degraded": "true"}
    if answers is not None:
        found["x-consort-overhead-ms"] = f"{overhead_ms(context, answers):.3f}"
    return found


def overhead_ms(context: Context, answers: Sequence[Answer]) -> float:
    """Milliseconds that were not spent waiting for models."""
    return max(0.0, 1e3 * (time.perf_counter() - context.begun - context.work_s))
