"""What a dialect is, and what its functions are given."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consort.server.errors import ApiError, api_error
from consort.server.fields import Body
from consort.server.request import Answer, Context, Event, Request
from consort.server.table import Served

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Exchange:
    """A request that is answered: its model and account, and what the answer says of how it came about."""

    served: Served
    request: Request
    context: Context
    created: int = field(default_factory=lambda: int(time.time()))
    account: Callable[[Sequence[Answer]], dict[str, Any]] = lambda answers: {}

    @property
    def model(self) -> str:
        return self.served.id

    def failed(self, error: Exception) -> ApiError:
        """What a client is told of an error in mid-stream; the log and the metrics find it in the account."""
        known = api_error(error, prompt=self.request.prompt_field)
        self.context.details["error"] = known
        if known.status >= 500:
            log.warning("%s: %s failed in mid-stream: %s", self.context.id, self.served.id, error)
        return known


@dataclass(frozen=True, slots=True)
class Dialect:
    """How requests of one path are read and answered. `stream` gives bytes; after its first it tells errors itself.

    `events` is the media type of its streams; `error` how an error is written, with headers of its own if any.
    """

    name: str
    read: Callable[[Body, Served], Request]
    whole: Callable[[Exchange, Sequence[Answer]], dict[str, Any]]
    stream: Callable[[Exchange, AsyncIterator[Event]], AsyncIterator[bytes]]
    events: str = "text/event-stream; charset=utf-8"
    error: Callable[[ApiError], Mapping[str, Any]] = ApiError.document
    streams_by_default: bool = False
