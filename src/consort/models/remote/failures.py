"""How a request can fail, and what an answer's status means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn

from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure, UnknownName
from consort.models.remote.secret import Key
from consort.models.remote.wire.errors import Said, said_by
from consort.models.remote.wire.values import Broken, json_of

RETRIED = frozenset((408, 409, 425))
NO_SUCH_PATH = frozenset((404, 405, 501))
SHOWN = 300
"""Most characters of what an endpoint says that an error shows."""


class Failure(Exception):
    """A try that may be made again; `wait` is how many seconds the endpoint asks for, None where it does not."""

    def __init__(self, message: str, wait: float | None = None, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.message, self.wait, self.is_final = message, wait, is_final


class Fault(Failure):
    """The endpoint does not answer, or not rightly."""


class Busy(Failure):
    """The endpoint is well and asks to wait."""


class Unanswered(EnvironmentFailure):
    """What a Failure is where it is not tried again at this endpoint; `wait` is what it asks for, `is_busy` if Busy."""

    wait: float | None = None
    is_busy: bool = False


class Absent(Exception):
    """The endpoint has no such path."""

    def __init__(self, error: ConsortError) -> None:
        super().__init__(str(error))
        self.error = error


class Refused(Exception):
    """The endpoint is well and will not do this; `said` is why, in full."""

    def __init__(self, error: ConsortError, said: Said) -> None:
        super().__init__(str(error))
        self.error, self.said = error, said


def said_in(content: bytes) -> Said:
    """What the body of an answer that is an error says."""
    try:
        return said_by(json_of(content))
    except Broken:
        return said_by(content.decode(errors="replace"))


def raise_for(status: int, said: Said, headers: Mapping[str, str], *, url: str, key: Key) -> NoReturn:
    """Raises the Fault, Busy, Absent or Refused that an error is; the key is hidden first, then texts are cut."""
    said = replace(said, message=key.hide(said.message))
    message = shortened(f"answers with status {status}: {said.message}")
    is_final = headers.get("x-should-retry") == "false"
    wait = wait_of(headers)
    if status == 429 and "insufficient_quota" in (said.code, said.kind):
        status = 402
    if status == 429:
        raise Busy(message, wait, is_final=is_final)
    if status in RETRIED or (status >= 500 and status not in NO_SUCH_PATH):
        raise Fault(message, wait, is_final=is_final)
    error = _refusal(status, shortened(said.message), url, key.variable)
    if status in NO_SUCH_PATH and said.code != "model_not_found":
        raise Absent(error)
    raise Refused(error, said)


def _refusal(status: int, message: str, url: str, variable: str) -> ConsortError:
    if status < 400:
        what = "a redirect, and those are not followed" if status >= 300 else f"status {status}, and nothing to read"
        return EnvironmentFailure(f"answers with {what}", field=url, hint="is the base URL right?")
    if status in (401, 403):
        hint = f"put a key into the environment variable {variable}"
        return EnvironmentFailure(f"refuses the key: {message}", field=url, hint=hint)
    if status == 402:
        return EnvironmentFailure(f"asks to be paid: {message}", field=url, hint="see to the account's quota")
    if status in NO_SUCH_PATH:
        return UnknownName(f"does not know it: {message}", field=url, hint="check name and base URL")
    return BadParameter(f"refuses the request ({status}): {message}", field=url, hint="see what it says is wrong")


def shortened(message: str) -> str:
    """A message in one line of at most SHOWN characters."""
    plain = " ".join(message.split())
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + "…"


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that `retry-after-ms` or `retry-after` (a number or a date) ask for; None if there is neither."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name) or "") / unit
        except ValueError:
            continue
        if not math.isnan(seconds):
            return max(0.0, seconds)
    try:
        until = parsedate_to_datetime(headers.get("retry-after") or "")
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
