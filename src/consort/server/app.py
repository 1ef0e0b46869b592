"""The server as an ASGI application: who may ask, what is asked, and the answer in the dialect it was asked in."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

from consort.core.errors import ConsortError
from consort.models.remote.wire.objects import dumped
from consort.server.account import account, headers
from consort.server.dialects.dialect import Dialect, Exchange
from consort.server.errors import ApiError, api_error
from consort.server.fields import Body, as_json
from consort.server.http import Call, ClientGone, Receive, Reply, Scope, Send, headers_of, send_reply, unless_gone
from consort.server.limits import Limits
from consort.server.operations.keys import Grant, Keys
from consort.server.operations.metrics import Metrics
from consort.server.operations.records import Record, Records
from consort.server.operations.traces import Traces
from consort.server.request import Answer, Context, Event, Request
from consort.server.routes import Route, Routes
from consort.server.scheduler.scheduler import Scheduler
from consort.server.table import Served, Table
from consort.server.work import Worker, check_quorum, deadline_of

log = logging.getLogger(__name__)
T = TypeVar("T")
LOCAL_HOSTS = frozenset(("127.0.0.1", "localhost", "[::1]"))


@dataclass(slots=True)
class State:
    """What a running server has."""

    table: Table
    scheduler: Scheduler
    worker: Worker
    limits: Limits = field(default_factory=Limits)
    keys: Keys | None = None
    hosts: frozenset[str] = LOCAL_HOSTS
    """Names by which the server may be asked for; checked where there is no key."""
    metrics: Metrics = field(default_factory=Metrics)
    records: Records = field(default_factory=Records)
    traces: Traces = field(default_factory=Traces)
    ready: bool = True
    closing: bool = False
    in_flight: int = 0
    ids: Random = field(default_factory=Random)
    """Where the numbers of requests come from."""
    cache: Any = None
    on_start: Callable[[], None] | None = None
    on_stop: Callable[[], None] | None = None


class App:
    """An ASGI application over a `State`."""

    def __init__(self, state: State, routes: Routes) -> None:
        self.state, self.routes = state, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        begun = time.perf_counter()
        call = Call(scope, receive, self.state.limits, f"{self.state.ids.getrandbits(96):024x}", headers_of(scope))
        record = Record(call.id, call.method, call.path)
        record.trace = self.state.traces.begin(call.method, call.path, call.headers)
        route: Route | None = None
        try:
            route = self._admitted(call)
            reply = await self._answer(route, call, record)
        except ClientGone:
            record.status = 499
            self._finish(record, route, begun)
            return
        except Exception as error:
            reply = self._refusal(error, call, route)
        record.status = reply.status
        try:
            await send_reply(reply, receive, send)
        finally:
            self._finish(record, route, begun)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self.state.on_start is not None:
                    self.state.on_start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.state.worker.leave()
                if self.state.on_stop is not None:
                    self.state.on_stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _admitted(self, call: Call) -> Route:
        """The route of a call that may be made. Raises ApiError."""
        state = self.state
        if sum(len(name) + len(value) for name, value in call.scope["headers"]) > state.limits.header_bytes:
            what = f"the head has more than {state.limits.header_bytes} bytes"
            raise ApiError(431, what, code="head_too_large", headers={"connection": "close"})
        origin = call.headers.get("origin")
        host = call.headers.get("host", "")
        if origin not in (None, "null") and origin.rpartition("://")[2] != host:
            raise ApiError(403, "requests from other sites are refused", code="foreign_origin")
        if origin == "null":
            raise ApiError(403, "requests from other sites are refused", code="foreign_origin")
        public = call.path == "/health"
        if state.keys is None and not public and host_of(host) not in state.hosts:
            raise ApiError(403, "this server is not asked for by that host name", code="foreign_host")
        if state.keys is not None and not public:
            call.key = state.keys.check(call.headers, browser=call.path == "/" or call.path.startswith("/static/"))
        return self.routes.find(call)

    async def _answer(self, route: Route, call: Call, record: Record) -> Reply:
        handler, dialect = route.handler, route.dialect
        if dialect is not None:
            return await self._counted(lambda: self._generate(dialect, call, record))
        assert handler is not None
        own = handler
        return await (self._counted(lambda: own(self.state, call)) if route.counts else own(self.state, call))

    async def _counted(self, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """Work of which only so much may be under way; a stream counts until its end."""
        state = self.state
        if not state.ready:
            raise ApiError(503, "the models are being loaded", code="not_ready", headers={"retry-after": "2"})
        if state.closing:
            raise ApiError(
                503, "the server stops", code="stopping", headers={"retry-after": "5", "connection": "close"}
            )
        if state.in_flight >= state.limits.queue:
            what = f"{state.limits.queue} requests are under way, which is the most"
            raise ApiError(429, what, code="rate_limit_exceeded", headers={"retry-after": "1"})
        state.in_flight += 1
        streams = False
        try:
            reply = await work()
            if reply.chunks is not None:
                streams, reply.chunks = True, self._until_end(reply.chunks)
            return reply
        finally:
            if not streams:
                self._left()

    def _left(self) -> None:
        self.state.in_flight -= 1

    async def _until_end(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]
            self._left()

    async def _generate(self, dialect: Dialect, call: Call, record: Record) -> Reply:
        state = self.state
        fields = await call.json()
        body = Body(fields, state.limits)
        served = state.table.find(body.text("model"))
        grant = state.keys.grant(call.key) if state.keys is not None else None
        if grant is not None:
            grant.check_model(served.id)
        request = dialect.read(body, served)
        record.model, record.stream = served.id, request.stream
        if state.records.prompts:
            record.prompt = as_json(fields)
        if grant is not None:
            grant.take_request()
        cached = state.cache.get(call.path, fields, request) if state.cache is not None else None
        if cached is not None:
            kept: Reply = cached
            own = {"x-consort-request-id": call.id, "x-consort-cache": "hit"}
            return replace(kept, headers={**kept.headers, **own})
        context = Context(call.id, served.id, deadline_of(served, state.limits.deadline_s), served.max_members)
        context.tools, context.trace = request.tools if request.calls_tools else (), record.trace
        exchange = Exchange(served, request, context)
        exchange.account = lambda answers: account(served, request, context, answers)
        run = Run(self.state, served, request, context, record, grant)
        if request.stream:
            first = await unless_gone(run.first(), call)
            chunks = run.closing(dialect.stream(exchange, run.rest(first)))
            return Reply(200, kind=dialect.events, headers=headers(served, context, None), chunks=chunks)
        answers = await unless_gone(run.all(), call)
        document = dialect.whole(exchange, answers)
        reply = Reply(200, dumped(document), headers=headers(served, context, answers))
        if state.cache is not None:
            state.cache.put(call.path, fields, request, reply)
        return reply

    def _refusal(self, error: Exception, call: Call, route: Route | None) -> Reply:
        known = api_error(error, prompt="prompt" if call.path.endswith("v1/completions") else "messages")
        if known.status == 500 and not isinstance(error, ApiError):
            log.error("%s %s: %s", call.id, call.path, error, exc_info=error)
        dialect = route.dialect if route is not None else None
        write = self.routes.error_of(call.path) if dialect is None else dialect.error
        heads = {"x-consort-request-id": call.id, **known.headers}
        return Reply(known.status, json.dumps(write(known)).encode(), headers=heads)

    def _finish(self, record: Record, route: Route | None, begun: float) -> None:
        seconds = time.perf_counter() - begun
        self.state.metrics.request(route.name if route else "none", record, seconds)
        self.state.records.write(record, seconds)
        record.trace.end(route.name if route else "none", record)


class Run:
    """The events of one request, timed and counted; ended at the deadline, or when the client goes."""

    def __init__(
        self, state: State, served: Served, request: Request, context: Context, record: Record, grant: Grant | None
    ) -> None:
        self.state, self.served, self.request, self.context = state, served, request, context
        self.record, self.grant = record, grant
        self.source = state.worker.events(served, request, context)
        self.answers: list[Answer] = []
        self.is_closed = False

    async def _bounded(self, work: Awaitable[T]) -> T:
        """What comes of work, until the deadline."""
        try:
            async with asyncio.timeout(max(0.0, self.context.left())):
                return await work
        except (ConsortError, OSError) as error:
            raise self._nobody(error) from error

    async def _next(self) -> Event | None:
        begun = time.perf_counter()
        try:
            event = await anext(self.source)
        except StopAsyncIteration:
            return None
        finally:
            self.context.work_s += time.perf_counter() - begun
        if self.context.first_s is None:
            self.context.first_s = time.perf_counter() - self.context.begun
        if isinstance(event, Answer):
            check_quorum(self.served, self.context)
            self.answers.append(event)
        return event

    async def _to_the_end(self) -> None:
        while await self._next() is not None:
            pass

    def _nobody(self, error: Exception) -> Exception:
        """The error as a client is told it: where all members were asked in vain, none is available."""
        context = self.context
        several = len(getattr(self.served.model, "members", ())) > 1
        if several and context.asked and set(context.asked) <= set(context.dropped):
            wrong = [context.failed[name] for name in context.dropped if name in context.failed]
            if len(wrong) == len(context.dropped) and all(api_error(fault).status < 500 for fault in wrong):
                return wrong[0]  # the request's own fault, as it would be told of one model
            why = ", ".join(f"{name}: {reason}" for name, reason in context.dropped.items())
            return ApiError(503, f"no member answers ({why})", code="no_member", headers={"retry-after": "5"})
        return error

    async def first(self) -> Event | None:
        try:
            return await self._bounded(self._next())
        except BaseException:
            await self.close()
            raise

    async def rest(self, first: Event | None) -> AsyncIterator[Event]:
        event = first
        while event is not None:
            yield event
            event = await self._bounded(self._next())

    async def all(self) -> Sequence[Answer]:
        try:
            await self._bounded(self._to_the_end())
        finally:
            await self.close()
        return sorted(self.answers, key=lambda answer: answer.index)

    async def closing(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]
            await self.close()

    async def close(self) -> None:
        """Let go of what is under way, and enter what was done."""
        if self.is_closed:
            return
        self.is_closed = True
        self.context.gone.set()
        await self.source.aclose()  # type: ignore[attr-defined]
        error = self.context.details.get("error")
        self.record.enter(self.served, self.context, self.request, self.answers, error)
        self.state.metrics.answered(self.served, self.context, self.answers)
        if self.grant is not None:
            self.grant.spend(self.served.id, self.answers)


def host_of(header: str) -> str:
    """The host of a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0].lower() + "]"
    return header.partition(":")[0].lower()


def error_document(error: ApiError) -> Mapping[str, Any]:
    return error.document()
