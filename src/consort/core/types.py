"""The values that pass between layers: prompts, sampling settings, completions and their cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict


class Message(TypedDict):
    """One turn of a chat, as in the OpenAI API."""

    role: str
    content: str


Prompt = str | Sequence[Message]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 are off.

    `stop`: strings that end the answer and are not part of it. Draws depend on `seed`, the prompt's tokens, how many
    equal prompts came before and the position of the token, so never on the batch.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model did for an answer. `calls` counts requests; `seconds` is wall time spent inside it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.calls + other.calls,
            self.seconds + other.seconds,
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. `usage` counts the answer itself; `cost` the work of every inner model, by name.

    `logprob` is the summed log-probability (nats) of `tokens` before sampling transforms, None where it is unknown.
    `finish_reason` is "stop" or "length". `details` is what a strategy wants to tell (who was chosen, scores).
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprob: float | None = None
    finish_reason: str = "stop"
    usage: Usage = Usage()
    cost: Mapping[str, Usage] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def add_cost(*costs: Mapping[str, Usage]) -> dict[str, Usage]:
    """Sum of costs by model name, in order of first appearance."""
    total: dict[str, Usage] = {}
    for cost in costs:
        for name, usage in cost.items():
            total[name] = total.get(name, Usage()) + usage
    return total


@dataclass(frozen=True, slots=True)
class Example:
    """One line of a task file (CLI.md, TASK). Exactly one of `prompt`, `messages`, `text` is set."""

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    text: str | None = None
    target: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: int | None = None
    group: str | None = None
    line: int = 0


Objective = Callable[[Any], float]
"""A language model to a score; larger is better."""
