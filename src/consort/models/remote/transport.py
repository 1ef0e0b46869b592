"""Requests to an endpoint: one client, the only retry loop, a circuit breaker; the key is read at each request."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from consort.core.counted import counted
from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure, UnknownName
from consort.models.remote.wire import Broken, error_code, error_message, json_of

RETRIED = frozenset((408, 409, 429))
MAX_BYTES = 2**26
"""Largest answer that is read."""

CONNECT_S = 5.0
LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_MISSING: Any = object()


class Transport:
    """Posts JSON to the paths of one endpoint (see `remote.RemoteModel` for the settings); safe for threads."""

    def __init__(
        self,
        base_url: str,
        *,
        key_variable: str,
        timeout_s: float,
        retries: int,
        concurrency: int,
        patience: int,
        cooldown_s: float,
        sleep: Callable[[float], None],
    ) -> None:
        self.base_url, self.key_variable, self.timeout_s, self.retries = base_url, key_variable, timeout_s, retries
        self.concurrency, self.patience, self.cooldown_s, self.sleep = concurrency, patience, cooldown_s, sleep
        self.clock: Callable[[], float] = time.monotonic
        self._failures, self._closed_until, self._lock = 0, 0.0, Lock()

    @cached_property
    def _client(self) -> Any:
        import httpx

        limits = httpx.Limits(max_connections=self.concurrency)
        return httpx.Client(follow_redirects=False, limits=limits, trust_env=False)

    def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Any], *, absent: Any = _MISSING) -> Any:
        """What `read` makes of the JSON answer (it raises Broken); `absent` where the endpoint has no such path."""
        deadline, trial = self.clock() + self.timeout_s, 0
        while True:
            self._check_breaker()
            answer, wait, failure = self._try(path, body, deadline - self.clock())
            if failure is None and answer is not None:
                status, headers, content = answer
                failure, wait = self._judge(status, headers, content, absent)
                if failure is None and status in (404, 405):
                    return absent
                if failure is None:
                    try:
                        found = read(json_of(content))
                    except Broken as error:
                        failure = self._failed(str(error))
                    else:
                        self._note(True)
                        return found
            assert failure is not None
            self._note(False)
            pause = 0.5 * 2**trial if wait is None else wait
            if trial >= self.retries or self.clock() + pause >= deadline:
                raise failure
            self.sleep(pause)
            trial += 1

    def _try(
        self, path: str, body: Mapping[str, Any], left: float
    ) -> tuple[tuple[int, Mapping[str, str], bytes] | None, float | None, ConsortError | None]:
        import httpx

        try:
            with self._opened(path, body, left) as response:
                return (response.status_code, response.headers, _bounded(response, self.clock, left)), None, None
        except httpx.TimeoutException:
            return None, None, self._failed(f"has not answered within {self.timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            return None, None, self._failed(f"cannot be reached: {type(error).__name__}")
        except Broken as error:
            return None, None, self._failed(str(error))

    @contextmanager
    def _opened(self, path: str, body: Mapping[str, Any], left: float) -> Iterator[Any]:
        import httpx

        timeout = httpx.Timeout(max(left, 0.001), connect=min(CONNECT_S, max(left, 0.001)))
        with self._client.stream(
            "POST", self.base_url + path, json=body, headers=self._headers(), timeout=timeout
        ) as response:
            yield response

    @contextmanager
    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[Iterator[str]]:
        """The lines of a streamed answer. Raises as `post`, and for a stream that breaks off."""
        import httpx

        self._check_breaker()
        try:
            with self._opened(path, body, self.timeout_s) as response:
                if response.status_code != 200:
                    content = _bounded(response, self.clock, self.timeout_s)
                    failure, _ = self._judge(response.status_code, response.headers, content, _MISSING)
                    raise failure or self._failed(f"answers with status {response.status_code}")
                yield response.iter_lines()
            self._note(True)
        except httpx.TimeoutException:
            self._note(False)
            raise self._failed(f"has been silent for {self.timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, UnicodeDecodeError) as error:
            self._note(False)
            raise self._failed(f"the stream breaks off: {type(error).__name__}") from None
        except Broken as error:
            self._note(False)
            raise self._failed(str(error)) from None

    def _judge(
        self, status: int, headers: Mapping[str, str], content: bytes, absent: Any
    ) -> tuple[ConsortError | None, float | None]:
        """None for an answer to read (or a path that is absent), else an error, and how long to wait before a retry.

        Raises at once where trying again cannot help.
        """
        if status == 200:
            return None, None
        try:
            said: Any = json_of(content)
        except Broken:
            said = None
        message = self._redacted(error_message(said))
        if status in (404, 405) and absent is not _MISSING and error_code(said) != "model_not_found":
            return None, None
        if status in RETRIED or status >= 500:
            failure = self._failed(f"answers with status {status}: {message}")
            if headers.get("x-should-retry") == "false":
                self._note(False)
                raise failure
            return failure, _retry_after(headers.get("retry-after"))
        raise self._refusal(status, message)

    def _refusal(self, status: int, message: str) -> ConsortError:
        if 300 <= status < 400:
            return self._failed("answers with a redirect, and those are not followed")
        if status in (401, 403):
            hint = f"put a key into the environment variable {self.key_variable}"
            return EnvironmentFailure(f"refuses the key: {message}", field=self.base_url, hint=hint)
        if status == 404:
            return UnknownName(f"does not know it: {message}", field=self.base_url, hint="check name and base URL")
        return BadParameter(f"refuses the request ({status}): {message}", field=self.base_url)

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            return {}
        parts = urlsplit(self.base_url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            hint = f"use https, or unset {self.key_variable}"
            raise BadParameter("a key is not sent over plain http", field=self.base_url, hint=hint)
        return {"Authorization": f"Bearer {key}"}

    def _redacted(self, text: str) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        return text.replace(key, "[key]") if key else text

    def _failed(self, what: str) -> ConsortError:
        return EnvironmentFailure(
            self._redacted(what), field=self.base_url, hint="is the endpoint up, and the URL right?"
        )

    def _check_breaker(self) -> None:
        with self._lock:
            left = self._closed_until - self.clock()
        if left > 0:
            message = f"has failed {counted(self.patience, 'time')} in a row and is left alone for {left:.0f} s more"
            raise EnvironmentFailure(message, field=self.base_url, hint="is the endpoint up?")

    def _note(self, good: bool) -> None:
        with self._lock:
            self._failures = 0 if good else self._failures + 1
            if self._failures >= self.patience:
                self._failures, self._closed_until = 0, self.clock() + self.cooldown_s


def _bounded(response: Any, clock: Callable[[], float], left: float) -> bytes:
    """The whole body; Broken if it is too large, or drips for longer than what is left."""
    parts, size, deadline = [], 0, clock() + left
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise Broken(f"answers with more than {MAX_BYTES} bytes")
        if clock() > deadline:
            raise Broken("does not come to an end in time")
    return b"".join(parts)


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number or a date; None if there is neither."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
