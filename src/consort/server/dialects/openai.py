"""OpenAI's /v1/chat/completions and /v1/completions."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from consort.core.types import Prompt, Tokens, Usage
from consort.models.remote.wire.events import DONE, event
from consort.models.remote.wire.objects import (
    chat_choice,
    chat_logprob,
    completion_logprobs,
    delta_choice,
    dumped,
    text_choice,
    usage_object,
)
from consort.server.dialects.dialect import Dialect, Exchange
from consort.server.errors import invalid
from consort.server.fields import Body, chat_of, choice_of, messages_of, sampling_of, tools_of, whole_text
from consort.server.request import Answer, Event, Request, TextDelta, ToolCall
from consort.server.scheduler.ticket import Told
from consort.server.table import Served
from consort.server.told import spelled_tokens
from consort.server.work import fresh_seed

CHAT_TOKENS, COMPLETION_TOKENS = 1024, 16
"""Most tokens of an answer where a request says nothing, as far as the model's window has room."""


def common(body: Body, served: Served, default_tokens: int) -> dict[str, Any]:
    """What both kinds of requests say."""
    sampling = sampling_of(body, default_tokens=default_tokens, max_names=("max_tokens", "max_completion_tokens"))
    if body.raw("seed") is None and sampling.temperature:
        sampling = replace(sampling, seed=fresh_seed())
    options = Body(body.mapping("stream_options"), body.limits, where="stream_options")
    return {
        "model": served.id,
        "sampling": sampling,
        "n": body.count("n", 1, 1, body.limits.n) or 1,
        "stream": body.flag("stream"),
        "usage_in_stream": options.flag("include_usage"),
        "attribution": body.flag("attribution"),
    }


def read_chat(body: Body, served: Served) -> Request:
    if body.raw("functions") is not None:
        raise invalid("functions", "is the old form; give tools", "unsupported_parameter")
    tools = tools_of(body)
    choice = choice_of(body, tools)
    messages = messages_of(body)
    wants = body.flag("logprobs")
    top = body.count("top_logprobs", 0, 0, body.limits.top_logprobs) or 0
    if top and not wants:
        raise invalid("top_logprobs", "needs logprobs: true")
    made = common(body, served, CHAT_TOKENS)
    prompt: Prompt = chat_of(messages, tools, choice)
    return Request(prompts=(prompt,), tools=tools, tool_choice=choice, top=top if wants else None, **made)


def read_completion(body: Body, served: Served) -> Request:
    if body.raw("suffix"):
        raise invalid("suffix", "is not supported", "unsupported_parameter")
    best = body.count("best_of", None, 1, body.limits.n)
    if best not in (None, body.raw("n") or 1):
        raise invalid("best_of", "is not supported beyond n", "unsupported_parameter")
    prompts, made = prompts_of(body), common(body, served, COMPLETION_TOKENS)
    if len(prompts) * made["n"] > body.limits.answers:
        raise invalid("n", f"{len(prompts)} prompts times n is more than {body.limits.answers} answers")
    raw = body.raw("logprobs")
    top = (1 if raw else None) if isinstance(raw, bool) else body.count("logprobs", None, 0, body.limits.top_logprobs)
    if made["stream"] and body.flag("echo"):
        raise invalid("echo", "is not streamed")
    return Request(prompts=prompts, top=top, echo=body.flag("echo"), prompt_field="prompt", **made)


def prompts_of(body: Body) -> tuple[Prompt, ...]:
    """A string, a list of them, a list of token ids, or a list of such lists."""
    value = body.raw("prompt")
    if isinstance(value, str):
        return (whole_text(value, "prompt"),)
    if not isinstance(value, list) or not value:
        raise invalid("prompt", "must be a string, a list of strings, or token ids", "missing_required_parameter")
    if all(type(item) is int for item in value):
        return (_ids(value),)
    if len(value) > body.limits.prompts:
        raise invalid("prompt", f"has {len(value)} prompts; at most {body.limits.prompts} are taken")
    return tuple(_ids(item) if isinstance(item, list) else whole_text(item, "prompt") for item in value)


def _ids(value: list[Any]) -> Tokens:
    if not value or any(type(item) is not int or not 0 <= item < 2**31 for item in value):
        raise invalid("prompt", "token ids are whole numbers of at least 0")
    return Tokens(value)


def usage_of(request: Request, answers: Sequence[Answer]) -> tuple[Usage, int]:
    """Tokens of the whole request, a prompt counted once; and how many of them had been read before."""
    ordered = sorted(answers, key=lambda answer: answer.index)
    read = sum(answer.completion.usage.prompt_tokens for answer in ordered[:: request.n])
    written = sum(answer.completion.usage.completion_tokens for answer in answers)
    return Usage(read, written, len(answers)), sum(answer.cached for answer in ordered[:: request.n])


def finish_of(answer: Answer) -> str:
    """A reason that OpenAI's objects know."""
    known = ("stop", "length", "tool_calls", "content_filter")
    return answer.finish if answer.finish in known else {"refusal": "content_filter"}.get(answer.finish, "stop")


def call_objects(calls: Sequence[ToolCall], *, indexed: bool = False) -> list[dict[str, Any]]:
    found = []
    for i, call in enumerate(calls):
        made: dict[str, Any] = {"index": i} if indexed else {}
        function = {"name": call.name, "arguments": call.arguments}
        found.append({**made, "id": call.id, "type": "function", "function": function})
    return found


def chat_logprobs(exchange: Exchange, told: Sequence[Told] | None) -> dict[str, Any] | None:
    if told is None or exchange.request.top is None:
        return None
    known = spelled_tokens(exchange.served.tokenizer, told)
    return {"content": [chat_logprob(*one) for one in known], "refusal": None}


def whole_chat(exchange: Exchange, answers: Sequence[Answer]) -> dict[str, Any]:
    choices = [
        chat_choice(
            answer.index,
            answer.text,
            finish_of(answer),
            calls=call_objects(answer.calls),
            logprobs=chat_logprobs(exchange, answer.told),
        )
        for answer in answers
    ]
    return _document(exchange, "chat.completion", choices, answers)


def whole_completion(exchange: Exchange, answers: Sequence[Answer]) -> dict[str, Any]:
    choices = [
        text_choice(
            answer.index,
            (answer.echoed.text if answer.echoed else "") + answer.text,
            finish_of(answer),
            logprobs=_completion_logprobs(exchange, answer),
        )
        for answer in answers
    ]
    return _document(exchange, "text_completion", choices, answers)


def _completion_logprobs(exchange: Exchange, answer: Answer) -> dict[str, Any] | None:
    if exchange.request.top is None or answer.told is None:
        return None
    return _text_logprobs(exchange, (*(answer.echoed.told if answer.echoed else ()), *answer.told))


def _text_logprobs(exchange: Exchange, told: Sequence[Told]) -> dict[str, Any] | None:
    if exchange.request.top is None:
        return None
    known = spelled_tokens(exchange.served.tokenizer, told)
    return completion_logprobs([t for t, _, _ in known], [v for _, v, _ in known], [top for _, _, top in known])


def _document(exchange: Exchange, kind: str, choices: list[Any], answers: Sequence[Answer]) -> dict[str, Any]:
    usage, cached = usage_of(exchange.request, answers)
    return {
        **_head(exchange, kind),
        "choices": choices,
        "usage": usage_object(usage, cached),
        "consort": exchange.account(answers),
    }


def _head(exchange: Exchange, kind: str) -> dict[str, Any]:
    prefix = "cmpl" if kind == "text_completion" else "chatcmpl"
    made = {"id": f"{prefix}-{exchange.context.id}", "object": kind, "created": exchange.created}
    return {**made, "model": exchange.model}


class Chunks:
    """Writes the chunks of one stream: `text` for pieces, `end` for answers that are whole."""

    kind = "chat.completion.chunk"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self.head = exchange, _head(exchange, self.kind)
        self.begun: set[int] = set()
        self.said: Counter[int] = Counter()
        """Characters of each answer that have been sent."""
        self.told: Counter[int] = Counter()
        """Tokens whose log-probabilities have been sent."""

    def text(self, piece: TextDelta) -> bytes:
        begin = self._begin(piece.index)
        self.said[piece.index] += len(piece.text)
        self.told[piece.index] += len(piece.told)
        return begin + self._text(piece.index, piece.text, piece.told)

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """What has not been sent of an answer, and its end; a model that answers at the end has sent nothing before."""
        index = answer.index
        left = "" if self.said[index] else answer.text
        rest = None if answer.told is None else answer.told[self.told[index] :]
        return self._begin(index) + self._end(answer, left, rest, extra)

    def _begin(self, index: int) -> bytes:
        if index in self.begun:
            return b""
        self.begun.add(index)
        return self._chunk(index, {"role": "assistant", "content": ""})

    def _text(self, index: int, text: str, told: Sequence[Told] | None) -> bytes:
        return self._chunk(index, {"content": text}, logprobs=chat_logprobs(self.exchange, told))

    def _end(self, answer: Answer, left: str, rest: Sequence[Told] | None, extra: Mapping[str, Any]) -> bytes:
        made = self._text(answer.index, left, rest) if left or rest else b""
        if answer.calls:
            made += self._chunk(answer.index, {"tool_calls": call_objects(answer.calls, indexed=True)})
        return made + self._chunk(answer.index, {}, finish_of(answer), extra)

    def _chunk(
        self,
        index: int,
        delta: Mapping[str, Any],
        finish: str | None = None,
        extra: Mapping[str, Any] | None = None,
        *,
        logprobs: Any = None,
    ) -> bytes:
        choice = delta_choice(index, delta, finish, logprobs=logprobs)
        return sse({**self.head, "choices": [choice], **(extra or {})})


class CompletionChunks(Chunks):
    kind = "text_completion"

    def _begin(self, index: int) -> bytes:
        return b""

    def _text(self, index: int, text: str, told: Sequence[Told] | None) -> bytes:
        return self._piece(index, text, None, told, {})

    def _end(self, answer: Answer, left: str, rest: Sequence[Told] | None, extra: Mapping[str, Any]) -> bytes:
        return self._piece(answer.index, left, finish_of(answer), rest, extra)

    def _piece(
        self, index: int, text: str, finish: str | None, told: Sequence[Told] | None, extra: Mapping[str, Any]
    ) -> bytes:
        logprobs = None if not told else _text_logprobs(self.exchange, told)
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return sse({**self.head, "choices": [choice], **extra})


async def stream_chat(exchange: Exchange, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    async for made in _streamed(exchange, events, Chunks(exchange)):
        yield made


async def stream_completion(exchange: Exchange, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    async for made in _streamed(exchange, events, CompletionChunks(exchange)):
        yield made


async def _streamed(exchange: Exchange, events: AsyncIterator[Event], chunks: Chunks) -> AsyncIterator[bytes]:
    """Chunks of all events, then the usage if it is asked for; an error ends the stream and is told in it."""
    request, answers = exchange.request, list[Answer]()
    try:
        async for one in events:
            if isinstance(one, TextDelta):
                yield chunks.text(one)
                continue
            answers.append(one)
            is_last = len(answers) == len(request.prompts) * request.n and not request.usage_in_stream
            yield chunks.end(one, {"consort": exchange.account(answers)} if is_last else {})
    except Exception as error:
        yield sse(exchange.failed(error).document())
        return
    if request.usage_in_stream:
        usage, cached = usage_of(request, answers)
        account = exchange.account(answers)
        yield sse({**chunks.head, "choices": [], "usage": usage_object(usage, cached), "consort": account})
    yield event(DONE)


def sse(value: Any) -> bytes:
    return b"data: " + dumped(value) + b"\n\n"


CHAT = Dialect("chat", read_chat, whole_chat, stream_chat)
COMPLETIONS = Dialect("completions", read_completion, whole_completion, stream_completion)
