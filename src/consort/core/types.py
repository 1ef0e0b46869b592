"""The values that pass between layers: prompts, sampling settings, completions and their cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict


class Message(TypedDict):
    """One turn of a chat, as in the OpenAI API."""

    role: str
    content: str


Prompt = str | Sequence[Message]


class Chat(tuple[Message, ...]):
    """A chat with the tools that the answer may call: functions as in the OpenAI API, for the model's template."""

    tools: tuple[Mapping[str, Any], ...]

    def __new__(cls, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Chat:
        made = super().__new__(cls, messages)
        made.tools = tuple(tools)
        return made


class Tokens(str):
    """A prompt of token ids. It is also a text, of the ids, for whatever only looks at prompts."""

    ids: tuple[int, ...]

    def __new__(cls, ids: Sequence[int]) -> Tokens:
        made = super().__new__(cls, " ".join(map(str, ids)))
        made.ids = tuple(ids)
        return made


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must be: of a JSON schema (`text` is the schema), any JSON object, a match of a regular
    expression, one of several texts (`text` is their JSON list), or a sentence of a grammar in Lark's notation."""

    kind: Literal["json_schema", "json_object", "regex", "choice", "grammar"]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Everything but `max_tokens` is off by default: `temperature` 0 is greedy.

    Logits are changed first: `logit_bias` (pairs of token and number) is added; `repetition_penalty` divides positive
    and multiplies negative logits of tokens in prompt or answer (1909.05858); `frequency_penalty` for each time a token
    is in the answer, and `presence_penalty` once, are subtracted; before `min_tokens` the answer cannot end. Then come
    temperature and the cuts, each on what the one before has left: `top_k` likeliest tokens; the fewest that have
    `top_p` of the probability; tokens of at least `min_p` times the likeliest's (2407.01082); the fewest of least
    surprise about surprise that have `typical_p` (2202.00666).

    `stop`: strings that end the answer and are not part of it. Draws depend on `seed`, the prompt's tokens, how many
    equal prompts came before and the position of the token, so never on the batch; `seeds` gives each prompt its own
    seed instead, and then equal prompts of equal seed have equal answers. `grammar`: only tokens with which the answer
    can still become what is asked for are drawn (needs `llguidance`).

    >>> from consort import Sampling
    >>> Sampling(max_tokens=8, temperature=0.7, seed=1).adjusts
    False
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    seeds: tuple[int, ...] = ()
    grammar: Grammar | None = None

    def of_rows(self, rows: Sequence[int]) -> Sampling:
        """The same for some of the prompts: each keeps its own seed."""
        return replace(self, seeds=tuple(self.seeds[row] for row in rows)) if self.seeds else self

    @property
    def adjusts(self) -> bool:
        """Whether logits are changed by what has been read or written, or by a bias."""
        penalties = (self.frequency_penalty, self.presence_penalty, self.min_tokens, self.logit_bias, self.grammar)
        return self.repetition_penalty != 1 or any(penalties)


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
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. `usage` counts the answer itself; `cost` the work of every inner model, by name.

    `logprob` is the summed log-probability (nats) of `tokens` before sampling transforms, None where it is unknown.
    `finish_reason` is "stop", "length" or "cancelled". `details` is what a strategy wants to tell (who was chosen,
    scores).

    >>> from consort import Completion
    >>> Completion("4", finish_reason="stop").text
    '4'
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
