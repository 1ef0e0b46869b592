"""Any OpenAI-compatible endpoint as a language model: `openai:NAME@BASE_URL`.

The key comes from the environment only, and is neither stored nor shown. Redirects are not followed. A request is tried
again here, or, of a model at several addresses, by `replicas`, and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from consort.core.binding import described
from consort.core.errors import BadParameter, Unsupported
from consort.core.prompts import check_list
from consort.core.types import Completion, Prompt, Sampling
from consort.models.remote.endings import Endings
from consort.models.remote.failures import Absent, Failure, Refused
from consort.models.remote.habits import Habits
from consort.models.remote.options import PLAIN, Options, checked
from consort.models.remote.reference import PREFIX, check_url, reference_text
from consort.models.remote.secret import Key
from consort.models.remote.streaming import GRACE_S, awaited_pieces, read_to_its_end, started
from consort.models.remote.ways import Way, finished
from consort.models.remote.wire.answers import answer_of, completion_of, raw_choice
from consort.models.remote.wire.echo import Untold, echoed_logprob
from consort.models.remote.wire.events import events_of, lines_of
from consort.models.remote.wire.requests import CHAT, COMPLETIONS, echo_payload, payload
from consort.models.remote.wire.stream import StreamState, stream_of
from consort.models.remote.wire.values import json_of, speaker_of

if TYPE_CHECKING:
    from consort.models.remote.transport import Flow, Transport

T = TypeVar("T")


class RemoteModel:
    """A model behind an OpenAI-compatible endpoint; prompts are sent side by side, `concurrency` at a time.

    A chat goes to /chat/completions, a string to /completions, or as a user's turn where the endpoint has no such path.
    Log-probabilities are asked for and used where they are offered; token ids are not known. `timeout_s` bounds a
    request or a stream with all its tries. A fault (5xx, 408, an unreadable answer, a lost connection) is tried again
    `retries` times, as `Retry-After` says, else after 0.5, 1, 2 … seconds; a rate limit (429) is waited for and is no
    fault. After `patience` requests in a row that failed the endpoint is left alone for `cooldown_s`. The key is in
    the environment variable `api_key_env` (by default OPENAI_API_KEY for api.openai.com, else CONSORT_API_KEY, where
    none is sent if there is none). `http` is an asynchronous transport of httpx to use in place of the network.

    What the endpoint refuses and can be done without (logprobs, seed, stream_options, max_tokens by that name) is left
    out from then on and told once. Answers that ended by anything but "stop" or "length" are told, and counted in
    `ended`. `speaker` is what the last answer said of who gave it, and where a text is sent to. Where it is not
    `patient` nothing is tried again.

    Raises EnvironmentFailure where the endpoint does not answer in time or not rightly; UnknownName for a model that it
    does not have, BadParameter for what it refuses, for a URL that is none and for a key that cannot be sent.
    """

    source: str
    tokenizer_choice = None

    __repr__ = described

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        timeout_s: float = Options.timeout_s,
        retries: int = Options.retries,
        concurrency: int = Options.concurrency,
        api_key_env: str | None = Options.api_key_env,
        patience: int = Options.patience,
        cooldown_s: float = Options.cooldown_s,
        sleep: Callable[[float], None] = time.sleep,
        http: Any = None,
        patient: bool = True,
    ) -> None:
        host = check_url(base_url)
        if not name:
            raise BadParameter("names no model", field=f"{PREFIX}@{base_url}", hint=f"{PREFIX}NAME@BASE_URL")
        given = (timeout_s, retries, concurrency, api_key_env, patience, cooldown_s)
        self.settings = checked(dict(zip(PLAIN, given, strict=True)))
        self.model, self.base_url, self.source = (
            name,
            base_url.rstrip("/"),
            reference_text(name, [base_url], self.settings),
        )
        self.name, self.sleep, self.http, self.patient = name, sleep, http, patient
        default = "OPENAI_API_KEY" if host == "api.openai.com" else "CONSORT_API_KEY"
        self.key = Key(api_key_env or default, is_asked=api_key_env is not None)
        self.habits, self.speaks_completions = Habits(self.source), True
        self.ended = Endings(name)
        self.speaker: dict[str, str] = {}

    @property
    def concurrency(self) -> int:
        """How many requests are under way at a time, at most."""
        return int(self.settings["concurrency"])

    @property
    def gives_logprob(self) -> bool:
        """Whether it may tell log-probabilities; that of one answer may still be None."""
        return self.habits.gives_logprob

    @cached_property
    def transport(self) -> Transport:
        """The connection, made at its first use."""
        from consort.models.remote.transport import Transport

        kept = {name: value for name, value in self.settings.items() if name != "api_key_env"}
        return Transport(self.base_url, key=self.key, sleep=self.sleep, http=self.http, patient=self.patient, **kept)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """One completion for each prompt, in order. The first failure is raised; what is under way is let finish."""
        from consort.models.decoding.sampling import check

        check_list(prompts)
        check(sampling, len(prompts))
        way = self.transport.blocking
        answers = self._each(lambda i: finished(self.answer(prompts[i], sampling, i, way)), len(prompts))
        self.ended.tell(answers)
        return answers

    async def answers(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """As `generate`, in the event loop that asks: nothing blocks, and what is cancelled ends at once."""
        from consort.models.decoding.sampling import check

        check_list(prompts)
        check(sampling, len(prompts))
        way = self.transport.heres.get()
        tasks = [asyncio.ensure_future(self.answer(p, sampling, i, way)) for i, p in enumerate(prompts)]
        try:
            found = [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
        self.ended.tell(found)
        return found

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Event | Callable[[], bool] | None = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the answer as they come; returns the completion. Before the first piece all is as in `generate`.

        Nothing is tried again after the first piece. `cancel` ends the answer as it is.
        """
        from consort.models.decoding.sampling import check

        check(sampling, 1)
        begun = time.perf_counter()
        gone = cancel.is_set if isinstance(cancel, Event) else cancel or bool

        async def begin(path: str, body: dict[str, Any], deadline: float) -> Generator[str, None, Completion]:
            pieces = self._pieces(path, body, deadline, gone)
            return started(pieces)

        pieces = finished(self._asked(prompt, sampling, 0, begin, self.transport.blocking, stream=True))
        try:
            found = yield from pieces
        except Failure as failure:
            self.transport.note_fault()
            raise self.transport.error(failure) from None
        except (Absent, Refused) as refusal:
            raise refusal.error from None
        finally:
            pieces.close()
        self.ended.tell([found])
        return _timed(found, self.name, time.perf_counter() - begun)

    async def pieces(self, prompt: Prompt, sampling: Sampling = Sampling()) -> AsyncGenerator[str | Completion, None]:
        """As `stream`, in the event loop that asks: pieces, and at the end the completion."""
        from consort.models.decoding.sampling import check

        check(sampling, 1)
        begun, way, heard = time.perf_counter(), self.transport.heres.get(), StreamState()

        async def begin(path: str, body: dict[str, Any], deadline: float) -> tuple[str | Completion, Any]:
            nonlocal heard
            heard = StreamState(self.key.veil())
            pieces = awaited_pieces(self.transport, path, body, deadline, way, heard)
            return await anext(pieces), pieces

        one, rest = await self._asked(prompt, sampling, 0, begin, way, stream=True)
        try:
            while not isinstance(one, Completion):
                yield one
                one = await anext(rest)
        except Failure as failure:
            self.transport.note_fault()
            raise self.transport.error(failure) from None
        except (Absent, Refused) as refusal:
            raise refusal.error from None
        finally:
            await rest.aclose()
        self.ended.tell([one])
        self.speaker |= heard.speaker
        yield _timed(one, self.name, time.perf_counter() - begun)

    async def leave(self) -> None:
        """End the connections of the event loop that runs."""
        await self.transport.heres.close()

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) of each continuation after its context, where the endpoint echoes log-probabilities.

        The continuation is what a local model takes for it (see `decoding.score`). An empty one scores 0. Raises
        Unsupported where the endpoint tells none, or none that are of the text.
        """
        way = self.transport.blocking
        return self._each(lambda number: finished(self.likelihood(*pairs[number], way)), len(pairs))

    async def likelihood(self, context: str, continuation: str, way: Way) -> float:
        """As `score`, of one pair."""
        if not continuation:
            return 0.0
        deadline = self.transport.deadline(way)
        body = echo_payload(self.model, context + continuation)
        hint = "an endpoint with echo and logprobs, or a local model"

        def read(answer: Any) -> float:
            return echoed_logprob(raw_choice(answer), context, continuation)

        try:
            attempt = partial(self.transport.post, COMPLETIONS, body, read, deadline, way)
            return await self.transport.tried(attempt, deadline, way)
        except Untold as fault:
            raise Unsupported(str(fault), field=self.name, hint=hint) from None
        except Absent:
            raise Unsupported("does not tell log-probabilities of given text", field=self.name, hint=hint) from None
        except Refused as refusal:
            if any(word in refusal.said.message.lower() for word in ("echo", "logprob")):
                what = f"does not tell log-probabilities of given text: {refusal.error.message}"
                raise Unsupported(what, field=self.name, hint=hint) from None
            raise refusal.error from None

    def _each(self, one: Callable[[int], T], count: int) -> list[T]:
        if count == 1:  # a thread for it would only cost its start
            return [one(0)]
        with ThreadPoolExecutor(max_workers=max(1, min(self.concurrency, count))) as pool:
            return list(pool.map(one, range(count)))

    async def answer(self, prompt: Prompt, sampling: Sampling, number: int, way: Way) -> Completion:
        """The completion of one prompt, the one of that `number` among those of the sampling's seeds."""
        begun = time.perf_counter()

        def read(answer: Any) -> Completion:
            found = completion_of(answer_of(answer))
            self.speaker |= speaker_of(answer)
            return found

        async def post(path: str, body: dict[str, Any], deadline: float) -> Completion:
            return await self.transport.post(path, body, read, deadline, way)

        found = await self._asked(prompt, sampling, number, post, way)
        return _timed(found, self.name, time.perf_counter() - begun)

    async def _asked(
        self,
        prompt: Prompt,
        sampling: Sampling,
        number: int,
        attempt: Callable[[str, dict[str, Any], float], Awaitable[T]],
        way: Way,
        *,
        stream: bool = False,
    ) -> T:
        """What `attempt` makes of the request, in the form that the endpoint wants; one deadline for all."""
        deadline = self.transport.deadline(way)
        path = COMPLETIONS if isinstance(prompt, str) and self.speaks_completions else CHAT
        while True:
            whole = payload(self.model, prompt, sampling, number, path=path, logprobs=True, stream=stream)
            body = self.habits.applied(whole)
            try:
                found = await self.transport.tried(partial(attempt, path, body, deadline), deadline, way)
            except Absent as absent:
                if path == CHAT:
                    raise absent.error from None
                path = CHAT
            except Refused as refusal:
                if not self.habits.learn(refusal, body):
                    raise refusal.error from None
            else:
                if isinstance(prompt, str):
                    self.speaks_completions = path == COMPLETIONS
                    self.speaker["path"] = path
                return found

    def _pieces(
        self, path: str, body: dict[str, Any], deadline: float, gone: Callable[[], bool]
    ) -> Generator[str, None, Completion]:
        heard = StreamState(self.key.veil())
        with read_to_its_end(heard), self.transport.stream(path, body, deadline, gone) as flow:
            if flow.kind.partition(";")[0].strip() == "application/json":
                whole = heard.veil.over(json_of(b"".join(flow.chunks)))
                found, heard.speaker = completion_of(answer_of(whole)), speaker_of(whole)
                if found.text:
                    yield found.text
            else:
                found = yield from stream_of(self._events(flow, heard), heard, gone)
            self.speaker |= heard.speaker
            return found
        self.speaker |= heard.speaker
        return heard.completion()

    def _events(self, flow: Flow, heard: StreamState) -> Iterator[str]:
        """The data of events; once the answer is whole, those of the next second."""
        for data in events_of(lines_of(flow.chunks)):
            yield data
            if heard.finish is not None:
                flow.deadline = min(flow.deadline, self.transport.clock() + GRACE_S)


def _timed(completion: Completion, name: str, seconds: float) -> Completion:
    usage = replace(completion.usage, seconds=seconds)
    return replace(completion, usage=usage, cost={name: usage})
