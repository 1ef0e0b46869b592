"""One line of JSON for each request: who asked for what and what it took; never a key, prompts only where asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from consort.server.operations.traces import Trace

if TYPE_CHECKING:
    from consort.server.errors import ApiError
    from consort.server.request import Answer, Context, Request
    from consort.server.table import Served


@dataclass(slots=True)
class Record:
    """What is known of a request."""

    id: str
    method: str
    path: str
    status: int = 0
    model: str = ""
    stream: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_s: float | None = None
    overhead_s: float | None = None
    work_s: float = 0.0
    dropped: str = ""
    chosen: str = ""
    error: str = ""
    prompt: str = ""
    trace: Trace = field(default_factory=Trace)

    def enter(
        self,
        served: Served,
        context: Context,
        request: Request,
        answers: Sequence[Answer],
        error: ApiError | None,
    ) -> None:
        from consort.server.account import chosen_of

        self.model = served.id
        self.prompt_tokens = sum(answer.completion.usage.prompt_tokens for answer in answers)
        self.completion_tokens = sum(answer.completion.usage.completion_tokens for answer in answers)
        self.first_s, self.work_s = context.first_s, context.work_s
        self.overhead_s = max(0.0, time.perf_counter() - context.begun - context.work_s)
        self.dropped = ", ".join(f"{name}:{reason}" for name, reason in context.dropped.items())
        self.chosen = chosen_of(answers)
        self.error = error.code or error.kind if error is not None else ""


class Records:
    """Where records are written; nowhere by default."""

    def __init__(self, out: TextIO | None = None, *, prompts: bool = False) -> None:
        self.out, self.prompts = out, prompts

    def close(self) -> None:
        if self.out is not None and self.out is not sys.stderr:
            self.out.close()
        self.out = None

    def write(self, record: Record, seconds: float) -> None:
        if self.out is None:
            return
        line: dict[str, Any] = {"time": round(time.time(), 3), "seconds": round(seconds, 6)}
        for name in Record.__slots__[:-1]:
            value = getattr(record, name)
            if value not in ("", None, False, 0) or name == "status":
                line[name] = round(value, 6) if isinstance(value, float) else value
        line["path"] = line["path"][:200]
        try:
            print(json.dumps(line, ensure_ascii=True), file=self.out, flush=True)
        except OSError:  # a log that cannot be written must not stop answers
            self.out = None
            print("warning: the log cannot be written any more", file=sys.stderr)
