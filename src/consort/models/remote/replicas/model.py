"""One model behind several OpenAI-compatible endpoints: `openai:NAME@BASE_URL,BASE_URL,…`.

Each request goes to the replica with the fewest under way. One that fails goes on to another at once, so that a machine
that is lost costs nothing but what it had begun; which of them answers is nowhere to be seen in what comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from functools import cached_property
from threading import Event
from typing import Any, TypeVar

from consort.core.binding import described
from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.core.prompts import check_list
from consort.core.types import Completion, Prompt, Sampling
from consort.models.remote.endings import Endings
from consort.models.remote.habits import Habits
from consort.models.remote.model import RemoteModel
from consort.models.remote.options import PARAMS, PLAIN, checked
from consort.models.remote.reference import PREFIX, check_urls, keys_of, reference_text
from consort.models.remote.replicas.board import Board
from consort.models.remote.replicas.errand import Errand
from consort.models.remote.replicas.replay import Replay
from consort.models.remote.ways import Way, finished

log = logging.getLogger(__name__)
T = TypeVar("T")


class Replicas:
    """One model at several addresses; answers come in the order of the prompts, whoever gives them.

    The options are those of `RemoteModel`, for each address; `api_key_env` may name one variable for each, with commas.
    A request that a replica fails (no connection, 5xx, no answer in time, a stream that breaks off, a refused key, an
    unknown model) goes on to another, and how many did is told. After `patience` failures in a row a replica is left
    alone for `cooldown_s` and then asked one request at a time until it answers. One that is busy (429) is left alone
    for as long as it says. Where all fail, that is tried `retries` times more. A stream that breaks off is told again
    by another replica from where it was, if that one gives the same answer.

    Raises as `RemoteModel`, where no replica answers one error for all; Incompatible where replicas answer as different
    models.
    """

    tokenizer_choice = None

    __repr__ = described

    def __init__(
        self, name: str, base_urls: Sequence[str], *, sleep: Callable[[float], None] = time.sleep, **options: Any
    ) -> None:
        if not base_urls:
            raise BadParameter("has no address", field=f"{PREFIX}{name}", hint=f"{PREFIX}NAME@BASE_URL,BASE_URL")
        check_urls(base_urls, f"{PREFIX}{name}")
        given = {key: PARAMS[key].default for key in PLAIN} | options
        self.settings = checked(given)
        self.name = self.model = name
        self.source = reference_text(name, base_urls, self.settings)
        keys = keys_of(self.settings["api_key_env"], len(base_urls))
        self.replicas = [
            RemoteModel(name, url, sleep=sleep, patient=False, **{**self.settings, "api_key_env": key})
            for url, key in zip(base_urls, keys, strict=True)
        ]
        self.ended, self.habits = Endings(name), Habits(self.source)
        for replica in self.replicas:
            replica.ended, replica.habits = self.ended, self.habits
        self._is_told = False
        self.board = Board(self.replicas, time.monotonic)

    @property
    def concurrency(self) -> int:
        """How many requests are under way at a time, at most, at all addresses together."""
        return sum(replica.concurrency for replica in self.replicas)

    @property
    def gives_logprob(self) -> bool:
        """Whether it may tell log-probabilities; that of one answer may still be None."""
        return self.habits.gives_logprob

    @cached_property
    def _blocking(self) -> Way:
        return self.replicas[0].transport.blocking

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """One completion for each prompt, in order. The first failure is raised; what is under way is let finish."""
        from consort.models.decoding.sampling import check

        check_list(prompts)
        check(sampling, len(prompts))

        def one(number: int) -> Completion:
            def ask(replica: RemoteModel) -> Awaitable[Completion]:
                return replica.answer(prompts[number], sampling, number, replica.transport.blocking)

            return finished(self._sent(ask, self._blocking))

        found = self._each(one, len(prompts))
        self.ended.tell(found)
        return found

    async def answers(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """As `generate`, in the event loop that asks: nothing blocks, and what is cancelled ends at once."""
        from consort.models.decoding.sampling import check

        check_list(prompts)
        check(sampling, len(prompts))
        found: dict[int, Completion] = {}
        waiting, way = deque(range(len(prompts))), self.replicas[0].transport.heres.get()

        async def work() -> None:
            while waiting:
                number = waiting.popleft()

                def ask(replica: RemoteModel, number: int = number) -> Awaitable[Completion]:
                    return replica.answer(prompts[number], sampling, number, replica.transport.heres.get())

                found[number] = await self._sent(ask, way)

        tasks = [asyncio.ensure_future(work()) for _ in range(min(self.concurrency, len(prompts)))]
        try:
            with self._told():
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        answers = [found[number] for number in range(len(prompts))]
        self.ended.tell(answers)
        return answers

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Event | Callable[[], bool] | None = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the answer as they come; returns the completion. `cancel` ends the answer as it is."""
        errand, replay = Errand(self.board, self._blocking, bounded=False), Replay(self.name)
        with self._told():
            while True:
                standing = finished(errand.next())
                replay.again()
                with errand.at(standing):
                    pieces = standing.model.stream(prompt, sampling, cancel=cancel)
                    return replay.end((yield from _new(pieces, replay)))

    async def pieces(self, prompt: Prompt, sampling: Sampling = Sampling()) -> AsyncGenerator[str | Completion, None]:
        """As `stream`, in the event loop that asks: pieces, and at the end the completion."""
        way = self.replicas[0].transport.heres.get()
        errand, replay = Errand(self.board, way, bounded=False), Replay(self.name)
        with self._told():
            while True:
                standing = await errand.next()
                replay.again()
                with errand.at(standing):
                    async with aclosing(standing.model.pieces(prompt, sampling)) as pieces:
                        async for piece in pieces:
                            if isinstance(piece, Completion):
                                yield replay.end(piece)
                            elif new := replay.put(piece):
                                yield new
                    return

    async def leave(self) -> None:
        """End the connections of the event loop that runs."""
        for replica in self.replicas:
            await replica.leave()

    def close(self) -> None:
        """End what is under way and the connections."""
        for replica in self.replicas:
            replica.transport.close()

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) of each continuation after its context, as `RemoteModel.score`."""

        def one(number: int) -> float:
            def ask(replica: RemoteModel) -> Awaitable[float]:
                return replica.likelihood(*pairs[number], replica.transport.blocking)

            return finished(self._sent(ask, self._blocking))

        return self._each(one, len(pairs))

    async def _sent(self, ask: Callable[[RemoteModel], Awaitable[T]], way: Way) -> T:
        """What `ask` comes to at one of the replicas."""
        errand = Errand(self.board, way)
        while True:
            standing = await errand.next()
            with errand.at(standing):
                return await ask(standing.model)

    def _each(self, one: Callable[[int], T], count: int) -> list[T]:
        with self._told():
            if count == 1:
                return [one(0)]
            with ThreadPoolExecutor(max_workers=max(1, min(self.concurrency, count))) as pool:
                return list(pool.map(one, range(count)))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """At its end it is said which replicas have failed, and how many of their requests others have answered."""
        try:
            yield
        finally:
            self._tell_differing()
            for standing, moved in self.board.moved():
                why = "" if standing.fault is None else f": {standing.fault.message}"
                shown = counted(moved, "request")
                log.warning("%s: %s went on from %s to another replica%s", self.name, shown, standing.url, why)

    def _tell_differing(self) -> None:
        told = {replica.speaker.get("system_fingerprint") for replica in self.replicas} - {None}
        if len(told) > 1 and not self._is_told:
            self._is_told = True
            shown = ", ".join(sorted(map(repr, told)))
            log.warning("%s: its replicas are set up differently (%s): they may answer differently", self.name, shown)


def _new(pieces: Generator[str, None, Completion], replay: Replay) -> Generator[str, None, Completion]:
    """What is new of a stream's pieces."""
    try:
        while True:
            if new := replay.put(next(pieces)):
                yield new
    except StopIteration as end:
        found: Completion = end.value
        return found
    finally:
        pieces.close()
