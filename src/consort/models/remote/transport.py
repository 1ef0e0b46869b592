"""Requests to one endpoint: one client, one deadline, the only retry loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from consort.core.counted import counted
from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure
from consort.models.remote.breaker import Breaker
from consort.models.remote.clients import Client, Httpx, Plain, Response
from consort.models.remote.failures import (
    Absent,
    Busy,
    Failure,
    Fault,
    Refused,
    Unanswered,
    raise_for,
    said_in,
    shortened,
)
from consort.models.remote.secret import Key
from consort.models.remote.ways import Blocking, Heres, Way
from consort.models.remote.wire.errors import Reported, Said
from consort.models.remote.wire.values import Broken, json_of

T = TypeVar("T")
MAX_BYTES = 2**26
"""Largest answer that is read."""

CONNECT_S = 5.0
HEADERS = {"content-type": "application/json", "accept-encoding": "gzip, identity"}


@dataclass(slots=True)
class Flow:
    """A streamed answer: its bytes as they come, its content type, and when it must be at its end.

    The time that the reader takes between two chunks moves the deadline on.
    """

    chunks: Iterator[bytes]
    kind: str = ""
    deadline: float = 0.0


@dataclass(slots=True)
class AwaitedFlow:
    """The same of a stream that is waited for in the event loop that reads it."""

    kind: str
    deadline: float
    chunks: AsyncIterator[bytes]


class Transport:
    """Posts JSON to the paths of one endpoint (see `remote.RemoteModel` for the settings); safe for threads.

    `http` is an asynchronous transport of httpx to send through, in place of the network. Where it is not `patient`
    the first failure of a request is raised: whoever asks has somebody else to ask.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: Key,
        timeout_s: float,
        retries: int,
        concurrency: int,
        patience: int,
        cooldown_s: float,
        sleep: Callable[[float], None] = time.sleep,
        http: Any = None,
        patient: bool = True,
    ) -> None:
        self.patient = patient
        self.base_url, self.key, self.timeout_s, self.retries = base_url, key, timeout_s, retries
        self.http = http
        self.clock: Callable[[], float] = time.monotonic
        self._breaker = Breaker(patience, cooldown_s)
        self.blocking = Blocking(self._client, concurrency, sleep)
        self.heres = Heres(self._client_here, concurrency, sleep)

    def _client(self) -> Client:
        self.key.guard_logs()
        return Httpx(self.http, self.connect_s)

    def _client_here(self) -> Client:
        if self.http is None and self.base_url.lower().startswith("http://"):
            return Plain(self.base_url, self.connect_s)
        return self._client()

    @property
    def connect_s(self) -> float:
        return min(CONNECT_S, self.timeout_s)

    def close(self) -> None:
        """End what is under way and the connections."""
        self.blocking.loop.close()

    def deadline(self, way: Way) -> float:
        """When a request that begins now must be at its end."""
        _ = way.client  # what is made once takes none of its time
        return self.clock() + self.timeout_s

    async def tried(self, attempt: Callable[[], Awaitable[T]], deadline: float, way: Way) -> T:
        """What `attempt` returns, made again while it fails and there is time.

        A Fault is tried again `retries` times, after 0.5, 1, 2 … seconds or as the endpoint asks; a Busy endpoint is
        waited for. Raises ConsortError for the last failure; Absent and Refused pass.
        """
        left, faults, waits = self._breaker.left(self.clock), 0, 0
        if left:
            message = (
                f"has failed {counted(self._breaker.patience, 'time')} in a row and is left alone for {left:.0f} s more"
            )
            raise EnvironmentFailure(message, field=self.base_url, hint="is the endpoint up?")
        while True:
            try:
                found = await attempt()
            except Failure as failure:
                if not self.patient:
                    raise self.error(failure) from None
                is_busy = isinstance(failure, Busy)
                number = waits if is_busy else faults
                asked = 0.5 * 2 ** min(number, 5) if failure.wait is None else failure.wait
                pause = max(asked, 0.02 * 2 ** min(number, 5))
                is_last = failure.is_final or (not is_busy and faults >= self.retries)
                if is_last or self.clock() + pause >= deadline:
                    self._breaker.note(is_busy, self.clock)
                    raise self.error(failure) from None
                faults, waits = faults + (not is_busy), waits + is_busy
                await way.pause(pause)
            except (Absent, Refused):
                self._breaker.note(True, self.clock)
                raise
            else:
                self._breaker.note(True, self.clock)
                return found

    def note_fault(self) -> None:
        """Count a request that failed after its first piece had come."""
        if self.patient:
            self._breaker.note(False, self.clock)

    def error(self, failure: Failure) -> ConsortError:
        """The error that a failure is where it is not tried again."""
        hint = "is the endpoint up, and the URL right?"
        if isinstance(failure, Busy):
            hint = "ask less at a time (concurrency), or wait longer (timeout_s)"
        message = shortened(self.key.hide(failure.message))
        if self.patient:
            return EnvironmentFailure(message, field=self.base_url, hint=hint)
        error = Unanswered(message, field=self.base_url, hint=hint)
        error.wait, error.is_busy = failure.wait, isinstance(failure, Busy)
        return error

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T], deadline: float, way: Way) -> T:
        """What `read` makes of the JSON answer, asked once. Raises Failure, Absent, Refused."""
        with self._faults():
            exchange = self._exchange(way.client, path, body, deadline)
            status, headers, content = await way.run(exchange, counted=True)
        self._judge(status, headers, content)
        with self.reading(headers):
            return read(self.key.veil().over(json_of(content)))

    @contextmanager
    def stream(self, path: str, body: Mapping[str, Any], deadline: float, gone: Callable[[], bool]) -> Iterator[Flow]:
        """A streamed answer, asked once. Raises Failure, Absent, Refused, when it is opened and while it is read."""
        response = self._told(self._open(self.blocking.client, path, body, deadline), gone)
        if response is None:
            yield Flow(iter(()))
            return
        try:
            if response.status_code != 200:
                self._judge(response.status_code, response.headers, self._told(self._rest(response, deadline)))
            flow = Flow(iter(()), response.headers.get("content-type", ""), deadline)
            flow.chunks = self._chunks(flow, response.aiter_bytes(), gone)
            with self.reading(response.headers):
                yield flow
        finally:
            self.blocking.loop.run(response.aclose())

    @asynccontextmanager
    async def opened(self, path: str, body: Mapping[str, Any], deadline: float, way: Way) -> AsyncIterator[AwaitedFlow]:
        """As `stream`, in the event loop that runs; whoever leaves closes it."""
        with self._faults():
            response = await self._open(way.client, path, body, deadline)
        try:
            with self._faults():
                if response.status_code != 200:
                    self._judge(response.status_code, response.headers, await self._rest(response, deadline))
            flow = AwaitedFlow(response.headers.get("content-type", ""), deadline, response.aiter_bytes())
            with self._faults(), self.reading(response.headers):
                yield flow
        finally:
            await response.aclose()

    async def chunks_of(self, flow: AwaitedFlow) -> AsyncIterator[bytes]:
        """The bytes of a flow, as they come and before its deadline; the reader's own time does not count."""
        size = 0
        while (chunk := await self._next(flow.chunks, flow.deadline)) is not None:
            size += len(chunk)
            if size > MAX_BYTES:
                raise Fault(f"answers with more than {MAX_BYTES} bytes")
            came = self.clock()
            yield chunk
            flow.deadline += self.clock() - came

    @contextmanager
    def reading(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Within it Broken and Reported become what they mean for the request."""
        try:
            yield
        except Broken as fault:
            raise Fault(str(fault)) from None
        except Reported as fault:
            said = fault.said
            if said.status is not None:
                raise_for(said.status, said, headers, url=self.base_url, key=self.key)
            raise Fault(f"answers with an error: {self.key.hide(said.message)}", is_final=True) from None

    def _judge(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        if status != 200:
            raise_for(status, said_in(content), headers, url=self.base_url, key=self.key)

    def _chunks(self, flow: Flow, chunks: AsyncIterator[bytes], gone: Callable[[], bool]) -> Iterator[bytes]:
        size = 0
        while not gone():
            chunk = self._told(self._next(chunks, flow.deadline), gone)
            if chunk is None:
                return
            size += len(chunk)
            if size > MAX_BYTES:
                raise Fault(f"answers with more than {MAX_BYTES} bytes")
            came = self.clock()
            yield chunk
            flow.deadline += self.clock() - came

    def _told(self, work: Any, gone: Callable[[], bool] | None = None) -> Any:
        """What the loop makes of `work`."""
        with self._faults():
            return self.blocking.loop.run(work, gone)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Within it errors of the client and of the machine are faults of the endpoint."""
        import httpx

        try:
            yield
        except TimeoutError:
            raise Fault(f"has not answered within {self.timeout_s:g} s") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            message, hint = f"is no URL to ask: {error}", "https://HOST/v1"
            raise Refused(BadParameter(message, field=self.base_url, hint=hint), Said("")) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise Fault(f"cannot be reached: {type(error).__name__}") from None

    async def _exchange(
        self, client: Client, path: str, body: Mapping[str, Any], deadline: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with asyncio.timeout(max(0.0, deadline - self.clock())):
            response = await self._sent(client, path, body)
            try:
                return response.status_code, response.headers, await self._body(response)
            finally:
                await response.aclose()

    async def _open(self, client: Client, path: str, body: Mapping[str, Any], deadline: float) -> Response:
        async with asyncio.timeout(max(0.0, deadline - self.clock())):
            return await self._sent(client, path, body)

    async def _rest(self, response: Any, deadline: float) -> bytes:
        async with asyncio.timeout(max(0.0, deadline - self.clock())):
            return await self._body(response)

    async def _next(self, chunks: AsyncIterator[bytes], deadline: float) -> bytes | None:
        async with asyncio.timeout(max(0.0, deadline - self.clock())):
            return await anext(chunks, None)

    async def _sent(self, client: Client, path: str, body: Mapping[str, Any]) -> Response:
        content, headers = json.dumps(body).encode(), {**HEADERS, **self.key.headers(self.base_url)}
        return await client.post(self.base_url + path, content, headers)

    async def _body(self, response: Any) -> bytes:
        found = bytearray()
        async for chunk in response.aiter_bytes():
            found += chunk
            if len(found) > MAX_BYTES:
                raise Fault(f"answers with more than {MAX_BYTES} bytes")
        return bytes(found)
