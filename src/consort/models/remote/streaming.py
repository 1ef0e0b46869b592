"""Streams of one endpoint: begun before they are handed on, and read until the answer is whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from consort.core.types import Completion
from consort.models.remote.failures import Failure
from consort.models.remote.wire.answers import answer_of, completion_of
from consort.models.remote.wire.events import DONE, data_of
from consort.models.remote.wire.stream import StreamState
from consort.models.remote.wire.values import json_of, speaker_of

if TYPE_CHECKING:
    from consort.models.remote.transport import Transport
    from consort.models.remote.ways import Way

GRACE_S = 1.0
"""How long a stream whose answer has ended is listened to for its usage."""


@contextmanager
def read_to_its_end(heard: StreamState) -> Iterator[None]:
    """What goes wrong after the answer is whole is no matter."""
    try:
        yield
    except Failure:
        if heard.finish is None:
            raise


async def awaited_pieces(
    transport: Transport, path: str, body: Mapping[str, Any], deadline: float, way: Way, heard: StreamState
) -> AsyncGenerator[str | Completion, None]:
    """Pieces of an answer in the event loop that asks, then the completion. Raises Failure, Absent, Refused."""
    with read_to_its_end(heard):
        async with transport.opened(path, body, deadline, way) as flow:
            chunks = transport.chunks_of(flow)
            if flow.kind.partition(";")[0].strip() == "application/json":
                whole = heard.veil.over(json_of(b"".join([chunk async for chunk in chunks])))
                found, heard.speaker = completion_of(answer_of(whole)), speaker_of(whole)
                if found.text:
                    yield found.text
                yield found
                return
            done = False
            async for data in data_of(chunks):
                if done := data.strip() == DONE:
                    break
                if text := heard.veil.put(heard.read(data)):
                    yield text
                if heard.finish is not None:
                    flow.deadline = min(flow.deadline, transport.clock() + GRACE_S)
            heard.check_whole(done)
    if rest := heard.veil.rest():
        yield rest
    yield heard.completion()


def started(pieces: Generator[str, None, Completion]) -> Generator[str, None, Completion]:
    """The same pieces, the first of them already there."""
    try:
        first = next(pieces)
    except StopIteration as end:
        return _ended(end.value)
    return _going(first, pieces)


def _going(first: str, pieces: Generator[str, None, Completion]) -> Generator[str, None, Completion]:
    try:
        yield first
        return (yield from pieces)
    finally:
        pieces.close()


def _ended(completion: Completion) -> Generator[str, None, Completion]:
    yield from ()
    return completion
