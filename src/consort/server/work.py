"""From a request to its events: pieces of text and whole answers, whatever kind of model answers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from consort.core.errors import EnvironmentFailure
from consort.core.types import Completion, Prompt, Sampling, Tokens
from consort.server.errors import ApiError, invalid
from consort.server.request import Answer, Asked, Context, Echoed, Event, Request, TextDelta, ToolCall
from consort.server.scheduler.scheduler import Scheduler
from consort.server.scheduler.ticket import Done, Failed, Piece, Told
from consort.server.table import Served
from consort.server.tools import calls_in, forced, sure_text

T = TypeVar("T")
_FIELDS = tuple(field.name for field in fields(Sampling))


def settings_of(request: Request, context: Context) -> Sampling:
    """The request's sampling with what members have to know; a seed where none was given."""
    sampling = request.sampling
    grammar = sampling.grammar
    if request.calls_tools:
        choice = request.tool_choice
        if choice.kind in ("required", "named"):
            grammar = forced(request.tools, choice.name)
        elif grammar is not None:
            if not grammar.kind.startswith("json"):
                raise invalid("tools", "cannot be used beside a grammar that is not JSON")
            grammar = forced(request.tools, "", grammar)
    given = {name: getattr(sampling, name) for name in _FIELDS}
    return Asked(**{**given, "grammar": grammar}, context=context)


def fresh_seed() -> int:
    return secrets.randbits(48)


@runtime_checkable
class Awaited(Protocol):
    """A model that is waited for in an event loop (`models.remote.model.RemoteModel`)."""

    async def answers(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]: ...

    def pieces(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[str | Completion, None]: ...

    async def leave(self) -> None: ...


@lru_cache(maxsize=256)
def _is_awaited(kind: Hashable) -> bool:
    """Whether a class of models is one that is waited for: asking its methods each time takes long."""
    return isinstance(kind, type) and issubclass(kind, Awaited)


class Worker:
    """Answers requests: in the common batch where that can be, else in a bounded pool of threads."""

    def __init__(self, scheduler: Scheduler, *, pool: int = 64) -> None:
        self.scheduler = scheduler
        self.pool = ThreadPoolExecutor(max_workers=pool, thread_name_prefix="consort-work")
        self.far: set[Awaited] = set()
        """Endpoints to which this event loop has connections."""

    async def leave(self) -> None:
        """End the connections to endpoints."""
        for model in self.far:
            await model.leave()
        self.far.clear()

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)

    async def events(self, served: Served, request: Request, context: Context) -> AsyncIterator[Event]:
        """What comes of a request; raises where nothing does. Answers are in any order, each after its pieces."""
        prompts = [prompt for prompt in request.prompts for _ in range(request.n)]
        if served.tokenizer is None and any(isinstance(prompt, Tokens) for prompt in prompts):
            raise invalid("prompt", f"{served.id} has no tokens; give texts")
        sampling = settings_of(request, context)
        if request.echo and _only_reads(request):
            source = self._read_only(served, request, prompts)
        elif served.in_batch:
            source = self._batched(served, request, prompts, sampling, context)
        elif _is_awaited(cast(Hashable, type(served.asked))):
            source = self._awaited(cast(Awaited, served.asked), served, request, prompts, sampling)
        else:
            source = self._apart(served, request, prompts, sampling, context)
        echoes = None
        if request.echo and not _only_reads(request):
            echoes = await self.run(lambda: self._echoes(served, request, prompts))
        holder = Holder(request)
        async for event in source:
            if isinstance(event, Answer):
                if echoes is not None:
                    event = replace(event, echoed=echoes[event.index])
                for one in holder.finished(event):
                    yield one
            else:
                for one in holder.heard(event):
                    yield one

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    async def _batched(
        self, served: Served, request: Request, prompts: Sequence[Prompt], sampling: Sampling, context: Context
    ) -> AsyncIterator[Event]:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def emit(event: Any) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, event)

        top = request.top

        def make() -> Any:
            return self.scheduler.ticket(served.model, prompts, sampling, emit, pieces=request.stream, top=top)

        ticket = await self.run(make)
        self.scheduler.submit(ticket)
        context.asked.append(served.id)
        left = len(prompts)
        try:
            while left:
                event = await queue.get()
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Piece):
                    yield TextDelta(event.row, event.text, event.told)
                elif isinstance(event, Done):
                    left -= 1
                    one = event.completion
                    told = event.told if top is not None else None
                    yield Answer(event.row, one.text, one.finish_reason, one, (), told, None, event.cached)
        finally:
            self.scheduler.cancel(ticket)

    async def _awaited(
        self, model: Awaited, served: Served, request: Request, prompts: Sequence[Prompt], sampling: Sampling
    ) -> AsyncIterator[Event]:
        """An endpoint, asked in this event loop: no thread stands between client and upstream."""
        self.far.add(model)
        if not request.stream or len(prompts) > 1:
            for index, one in enumerate(await model.answers(prompts, sampling)):
                yield await self._answered(served, request, prompts[index], index, one)
            return
        pieces = model.pieces(prompts[0], sampling)
        try:
            async for piece in pieces:
                if isinstance(piece, Completion):
                    yield await self._answered(served, request, prompts[0], 0, piece)
                else:
                    yield TextDelta(0, piece)
        finally:
            await pieces.aclose()

    async def _apart(
        self, served: Served, request: Request, prompts: Sequence[Prompt], sampling: Sampling, context: Context
    ) -> AsyncIterator[Event]:
        """A model with a way of its own: in threads, as a stream where it has one and one answer is wanted."""
        model = served.asked
        streams = request.stream and len(prompts) == 1 and hasattr(model, "stream")
        if not streams:
            if getattr(model, "at_once", False):  # a hand-over to a thread would take longer than the answer
                found = model.generate(list(prompts), sampling)
            else:
                found = await self.run(lambda: model.generate(list(prompts), sampling))
            for index, one in enumerate(found):
                yield await self._answered(served, request, prompts[index], index, one)
            return
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def put(event: Any) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, event)

        def run() -> None:
            try:
                put(_streamed(model, prompts[0], sampling, context, lambda text: put(TextDelta(0, text))))
            except BaseException as error:  # raised below, where it is awaited
                put(Failed(error))  # type: ignore[arg-type]

        self.pool.submit(run)
        while True:
            event = await queue.get()
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Completion):
                yield await self._answered(served, request, prompts[0], 0, event)
                return
            yield event

    async def _answered(self, served: Served, request: Request, prompt: Prompt, index: int, one: Completion) -> Answer:
        told = None
        spelled, logprobs = one.details.get("spelled"), one.details.get("logprobs")
        if request.top is not None and spelled is not None and logprobs is not None:
            told = tuple(Told(token, logprob) for token, logprob in zip(spelled, logprobs, strict=True))
        elif request.top is not None:
            told = await self.run(lambda: self._told(served, prompt, one, request.top or 0))
        return Answer(index, one.text, one.finish_reason, one, (), told)

    def _told(self, served: Served, prompt: Prompt, one: Completion, top: int) -> tuple[Told, ...] | None:
        """Log-probabilities of an answer that was not made in the batch: by reading it once more where that can be."""
        from consort.models.decoding.decode import prompt_tokens
        from consort.models.token_model import TokenModel
        from consort.server.reading import read

        if not isinstance(served.model, TokenModel) or not one.tokens:
            return None
        head = prompt_tokens(served.model.tokenizer, prompt)
        lists = [[*head, *one.tokens]]
        (found,) = self.scheduler.call(lambda: read(served.model, lists, top)).result()
        return tuple(found[len(head) - 1 :])

    async def _read_only(self, served: Served, request: Request, prompts: Sequence[Prompt]) -> AsyncIterator[Event]:
        """Echo with at most one token, the likeliest: everything is known from reading once."""
        from consort.server.reading import echo_answers

        model = _scorer(served)
        future = self.scheduler.call(lambda: echo_answers(model, prompts, request.sampling.max_tokens, request.top))
        found: list[Answer] = await asyncio.wrap_future(future)
        for index, answer in enumerate(found):
            yield replace(answer, index=index)

    def _echoes(self, served: Served, request: Request, prompts: Sequence[Prompt]) -> list[Echoed]:
        from consort.server.reading import echoes

        model = _scorer(served)
        return self.scheduler.call(lambda: echoes(model, prompts, request.top)).result()


def _scorer(served: Served) -> Any:
    from consort.models.token_model import TokenModel

    if not isinstance(served.model, TokenModel):
        raise invalid("echo", f"{served.id} does not tell log-probabilities of given text")
    return served.model


def _only_reads(request: Request) -> bool:
    sampling = request.sampling
    return sampling.max_tokens <= 1 and sampling.temperature == 0 and not sampling.adjusts and not sampling.stop


def _streamed(
    model: Any, prompt: Prompt, sampling: Sampling, context: Context, put: Callable[[str], None]
) -> Completion:
    pieces = _stream_of(model, prompt, sampling, context)
    while True:
        try:
            put(next(pieces))
        except StopIteration as end:
            found: Completion = end.value
            return found
        if context.gone.is_set():
            pieces.close()
            raise EnvironmentFailure("the client has gone")


def _stream_of(model: Any, prompt: Prompt, sampling: Sampling, context: Context) -> Any:
    """The model's own stream, which may ask whether anybody listens."""
    try:
        return model.stream(prompt, sampling, cancel=context.is_over)
    except TypeError:
        return model.stream(prompt, sampling)


class Holder:
    """Holds back what may become a tool call, and finds the calls in whole answers."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.names = {tool["function"]["name"] for tool in request.tools} if request.calls_tools else set()
        self.text: dict[int, str] = {}
        self.sent: dict[int, str] = {}

    def heard(self, piece: TextDelta | Answer) -> list[Event]:
        if isinstance(piece, Answer) or not self.names:
            return [piece]
        whole = self.text[piece.index] = self.text.get(piece.index, "") + piece.text
        sent, sure = self.sent.get(piece.index, ""), sure_text(whole)
        if len(sure) <= len(sent) or not sure.startswith(sent):
            return []
        self.sent[piece.index] = sure
        return [replace(piece, text=sure[len(sent) :])]

    def finished(self, answer: Answer) -> list[Event]:
        if not self.names:
            return [answer]
        answer = with_calls(answer, self.names)
        sent = self.sent.get(answer.index, "")
        rest = answer.text[len(sent) :] if answer.text.startswith(sent) else ""
        deltas: list[Event] = [TextDelta(answer.index, rest)] if rest and self.request.stream else []
        return [*deltas, answer]


def with_calls(answer: Answer, names: set[str]) -> Answer:
    """The answer with its tool calls, as the endpoint told them or from its text."""
    told = answer.completion.details.get("tool_calls", ())
    calls = [(c["function"]["name"], c["function"]["arguments"] or "{}") for c in told if "function" in c]
    said = answer.text
    if not calls:
        said, calls = calls_in(answer.text, names)
    if not calls:
        return answer
    made = tuple(ToolCall(f"call_{secrets.token_hex(12)}", name, arguments) for name, arguments in calls)
    return replace(answer, text=said, calls=made, finish="tool_calls")


def check_quorum(served: Served, context: Context) -> None:
    """Raise ApiError where fewer members have answered than the model's quorum."""
    answered = [name for name in context.asked if name not in context.dropped]
    if context.asked and len(answered) < served.quorum and not served.in_batch and served.quorum > 1:
        what = f"{len(answered)} of {served.quorum} members needed have answered"
        raise ApiError(503, what, code="quorum", headers={"retry-after": "5"})


def deadline_of(served: Served, default_s: float) -> float:
    return time.monotonic() + (served.deadline_s or default_s)
