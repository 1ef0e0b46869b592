"""One internal request for all dialects, and what comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from consort.core.types import Completion, Prompt, Sampling
from consort.server.operations.traces import Trace
from consort.server.scheduler.ticket import Told


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`none`, `auto`, `required`, or a function's name that must be called."""

    kind: str = "auto"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, whatever dialect it came in. Answer number i * n + k is the k-th to prompt i.

    `top`: how many alternatives of each token are told, None: no log-probabilities; `echo`: those of the prompt too,
    and its text. `shape`: what the dialect needs to write the answer.
    """

    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling = Sampling()
    n: int = 1
    stream: bool = False
    usage_in_stream: bool = False
    top: int | None = None
    echo: bool = False
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    attribution: bool = False
    prompt_field: str = "messages"
    shape: Mapping[str, Any] = field(default_factory=dict)

    @property
    def calls_tools(self) -> bool:
        return bool(self.tools) and self.tool_choice.kind != "none"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; `arguments` are JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the answer number `index`."""

    index: int
    text: str
    told: tuple[Told, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer number `index`, whole. `text` is what is said beside tool calls."""

    index: int
    text: str
    finish: str
    completion: Completion
    calls: tuple[ToolCall, ...] = ()
    told: tuple[Told, ...] | None = None
    echoed: Echoed | None = None
    cached: int = 0
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Echoed:
    """A prompt given back: its text and its tokens, the first of which has no log-probability."""

    text: str
    told: tuple[Told, ...]


Event = TextDelta | Answer


@dataclass(slots=True, eq=False)
class Context:
    """A request under way: its deadline, whether its client has gone, and what happened to members."""

    id: str
    strategy: str = ""
    deadline: float = float("inf")
    max_members: int | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    gone: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)
    begun: float = field(default_factory=time.perf_counter)
    work_s: float = 0.0
    first_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)
    trace: Trace = field(default_factory=Trace)

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def is_over(self) -> bool:
        return self.gone.is_set() or self.left() <= 0


@dataclass(frozen=True, slots=True)
class Asked(Sampling):
    """Sampling of a request: members of a strategy find the request itself in it, and until when they may take."""

    context: Context = field(default_factory=lambda: Context(""), compare=False)
    until: float = field(default=float("inf"), compare=False)
    """By the monotonic clock; the request's own deadline is a bound too."""

    def left(self) -> float:
        """Seconds until the time of this call is over."""
        return min(self.until, self.context.deadline) - time.monotonic()

    def share(self, part: float) -> Asked:
        """The same with a part of the time that is left."""
        left = self.left()
        return self if left == float("inf") else replace(self, until=time.monotonic() + part * max(0.0, left))

    def is_over(self) -> bool:
        return self.context.gone.is_set() or self.left() <= 0
