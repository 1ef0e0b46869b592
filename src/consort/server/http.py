"""HTTP as the server needs it: requests read with care, replies, and noticing that a client has gone."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from consort.server.errors import ApiError
from consort.server.limits import Limits

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
LEAVING = "consort.leaving"
"""Where the scope of a request has its connection's `Leaving`, if the server has one."""
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Reply:
    """A whole answer, or a stream of bytes."""

    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    chunks: AsyncIterator[bytes] | None = None


@dataclass(slots=True)
class Call:
    """One HTTP request."""

    scope: Scope
    receive: Receive
    limits: Limits
    id: str
    headers: dict[str, str]
    key: str | None = None
    rest: str = ""
    """What follows a path that is a prefix."""

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    async def json(self) -> Any:
        """The body as JSON. Raises ApiError: 400 for what is none, 408 for one that does not come, 413 if too long."""
        kind = self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise ApiError(400, f"the content type must be application/json, not {kind[:60]!r}", code="content_type")
        body = await self.body()
        try:
            return _decoded(body)
        except (ValueError, RecursionError) as error:
            what = "is empty" if not body.strip() else f"is not JSON: {str(error)[:120]}"
            raise ApiError(400, f"the body {what}", code="invalid_json") from None

    async def body(self) -> bytes:
        most = self.limits.body_bytes
        too_long = ApiError(413, f"the body has more than {most} bytes", code="body_too_large")
        told = self.headers.get("content-length", "")
        if told.isdigit() and int(told[:20]) > most:
            raise too_long
        known = self.scope.get(LEAVING)
        if isinstance(known, Leaving) and known.has_all:
            return await self._received(too_long)
        try:
            async with asyncio.timeout(self.limits.body_s):
                return await self._received(too_long)
        except TimeoutError:
            what = f"the body did not come in {self.limits.body_s:g} s"
            raise ApiError(408, what, code="body_timeout", headers={"connection": "close"}) from None

    async def _received(self, too_long: ApiError) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > self.limits.body_bytes:
                raise too_long
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)


class ClientGone(Exception):
    """The client has closed the connection: nobody waits for an answer."""


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_LARGE = 2**16
"""From so many bytes on, a body may hold so many values that the collector would walk them again and again."""


def _decoded(body: bytes) -> Any:
    """A body's JSON. While a large one is read there is no collection: nothing of it could be collected."""
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    if len(body) < _LARGE or not gc.isenabled():
        return _DECODER.decode(text)
    gc.disable()
    try:
        return _DECODER.decode(text)
    finally:
        gc.enable()


async def gone(receive: Receive) -> None:
    """Returns once the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_reply(reply: Reply, receive: Receive, send: Send) -> None:
    """Writes a reply; a stream ends early, and its source is closed, once the client has gone."""
    heads = [(b"content-type", reply.kind.encode())]
    heads += [(name.encode("ascii"), value.encode("ascii", "replace")) for name, value in reply.headers.items()]
    if reply.chunks is None:
        heads.append((b"content-length", str(len(reply.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": heads})
        await send({"type": "http.response.body", "body": reply.body})
        return
    heads.append((b"cache-control", b"no-store"))
    heads.append((b"x-accel-buffering", b"no"))
    await send({"type": "http.response.start", "status": reply.status, "headers": heads})
    writing = asyncio.ensure_future(_write(reply.chunks, send))
    leaving = asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        if not writing.cancelled() and writing.exception() is not None:
            raise writing.exception() or ClientGone
    finally:
        leaving.cancel()
        writing.cancel()
        await asyncio.gather(writing, leaving, return_exceptions=True)
        await reply.chunks.aclose()  # type: ignore[attr-defined]


async def _write(chunks: AsyncIterator[bytes], send: Send) -> None:
    async for chunk in chunks:
        if chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Leaving:
    """Tells those who want to know that the client of a connection has closed it.

    `has_all`: the body of its request has come, so that nobody need wait for it.
    """

    __slots__ = ("has_all", "heard", "is_gone")

    def __init__(self) -> None:
        self.is_gone = self.has_all = False
        self.heard: set[Callable[[], None]] = set()

    def tell(self) -> None:
        self.is_gone = True
        for hear in tuple(self.heard):
            hear()


async def unless_gone(work: Awaitable[T], call: Call) -> T:
    """What `work` gives; raises ClientGone, and ends it, once the client has closed the connection."""
    told = call.scope.get(LEAVING)
    if isinstance(told, Leaving):
        return await _ended_by(work, told)
    heard = Leaving()
    leaving = asyncio.ensure_future(gone(call.receive))  # under a server that does not tell
    leaving.add_done_callback(lambda _: heard.tell())
    try:
        return await _ended_by(work, heard)
    finally:
        leaving.cancel()


async def _ended_by(work: Awaitable[T], leaving: Leaving) -> T:
    own, is_over, is_gone = asyncio.current_task(), False, False
    assert own is not None

    def left() -> None:
        nonlocal is_gone
        if not is_over:
            is_gone = True
            own.cancel()

    leaving.heard.add(left)
    try:
        if leaving.is_gone:
            left()
        return await work
    except asyncio.CancelledError:
        if not is_gone:
            raise
        own.uncancel()
        raise ClientGone from None
    finally:
        is_over = True
        leaving.heard.discard(left)


def headers_of(scope: Scope) -> dict[str, str]:
    """Header fields by name in lower case; of several of one name the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def ascii_header(value: str) -> str:
    """A text as a header's value: printable ASCII, at most 1000 characters."""
    return "".join(c if " " <= c <= "~" else "?" for c in value)[:1000]


def plain(value: Any) -> Any:
    """A value as JSON has it: tuples as lists, numbers that are none as null, anything else as its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, bool | str | int) or value is None:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if number == number and abs(number) != float("inf") else None
