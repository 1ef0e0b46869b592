"""Ollama's /api/chat, /api/generate, /api/tags, /api/show and /api/version: lines of JSON."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consort.core.types import Sampling
from consort.core.version import __version__
from consort.models.remote.wire.objects import dumped
from consort.server.dialects.dialect import Dialect, Exchange
from consort.server.dialects.openai import CHAT_TOKENS
from consort.server.errors import ApiError, invalid
from consort.server.fields import Body, as_json, chat_of, messages_of, stop_of, tools_of
from consort.server.handlers import allowed
from consort.server.http import Call, Reply
from consort.server.request import Answer, Event, Request, TextDelta, ToolChoice
from consort.server.table import Served
from consort.server.work import fresh_seed

if TYPE_CHECKING:
    from consort.server.app import State

from consort.core.types import Grammar


def error(known: ApiError) -> Mapping[str, Any]:
    return {"error": known.message}


def _sampling(body: Body) -> Sampling:
    options = Body(body.mapping("options"), body.limits, where="options")
    most = options.count("num_predict", CHAT_TOKENS, -2, body.limits.max_tokens)
    temperature = options.number("temperature", 0.8, 0, 100)
    seed = options.count("seed", None, -(2**63), 2**63)
    return Sampling(
        max_tokens=CHAT_TOKENS if most is None or most < 0 else most,
        temperature=temperature,
        top_p=max(options.number("top_p", 0.9, 0, 1), 1e-9),
        top_k=max(0, options.count("top_k", 40, -1, 2**31) or 0),
        min_p=options.number("min_p", 0.0, 0, 1),
        repetition_penalty=options.number("repeat_penalty", 1.0, 0.01, 100),
        frequency_penalty=options.number("frequency_penalty", 0.0, -100, 100),
        presence_penalty=options.number("presence_penalty", 0.0, -100, 100),
        stop=stop_of(options, "stop"),
        seed=(fresh_seed() if temperature else 0) if seed is None else seed,
        grammar=_format(body),
    )


def _format(body: Body) -> Grammar | None:
    value = body.raw("format")
    if value in (None, ""):
        return None
    if value == "json":
        return Grammar("json_object")
    if isinstance(value, Mapping):
        return Grammar("json_schema", as_json(value))
    raise invalid("format", "must be json or a JSON schema")


def read_chat(body: Body, served: Served) -> Request:
    tools = tools_of(body)
    chat = chat_of(messages_of(body), tools, ToolChoice())
    shape = {"chat": True, "begun": time.perf_counter_ns()}
    made = Request(served.id, (chat,), _sampling(body), stream=body.flag("stream", True), tools=tools, shape=shape)
    return made


def read_generate(body: Body, served: Served) -> Request:
    if body.items("images", 100):
        raise invalid("images", "are not supported")
    prompt: Any = body.text("prompt", "")
    system = body.raw("system")
    if not body.flag("raw"):
        turns = [] if system is None else [{"role": "system", "content": body.text("system")}]
        prompt = chat_of([*turns, {"role": "user", "content": prompt}], (), ToolChoice())  # type: ignore[list-item]
    shape = {"chat": False, "begun": time.perf_counter_ns()}
    stream = body.flag("stream", True)
    return Request(served.id, (prompt,), _sampling(body), stream=stream, shape=shape, prompt_field="prompt")


def _line(exchange: Exchange, text: str, calls: Sequence[Any] = ()) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    head = {"model": exchange.model, "created_at": now}
    if not exchange.request.shape["chat"]:
        return {**head, "response": text}
    message: dict[str, Any] = {"role": "assistant", "content": text}
    return {**head, "message": {**message, "tool_calls": list(calls)} if calls else message}


def _end(exchange: Exchange, answer: Answer, text: str) -> dict[str, Any]:
    import json

    usage = answer.completion.usage
    total = time.perf_counter_ns() - int(exchange.request.shape["begun"])
    first = int(1e9 * (exchange.context.first_s or 0.0))
    calls = [{"function": {"name": c.name, "arguments": json.loads(c.arguments)}} for c in answer.calls]
    return {
        **_line(exchange, text, calls),
        "done": True,
        "done_reason": "length" if answer.finish == "length" else "stop",
        "total_duration": total,
        "load_duration": 0,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": min(first, total),
        "eval_count": usage.completion_tokens,
        "eval_duration": max(0, total - first),
        "consort": exchange.account([answer]),
    }


def whole(exchange: Exchange, answers: Sequence[Answer]) -> dict[str, Any]:
    return _end(exchange, answers[0], answers[0].text)


async def stream(exchange: Exchange, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    said = False
    try:
        async for one in events:
            if isinstance(one, TextDelta):
                said = True
                yield dumped({**_line(exchange, one.text), "done": False}) + b"\n"
            else:
                yield dumped(_end(exchange, one, "" if said else one.text)) + b"\n"
    except Exception as fault:
        yield dumped(error(exchange.failed(fault))) + b"\n"


async def tags(state: State, call: Call) -> Reply:
    found = [{"name": f"{s.id}:latest", "model": f"{s.id}:latest", **_about(s)} for s in allowed(state, call)]
    return Reply(200, dumped({"models": found}))


async def show(state: State, call: Call) -> Reply:
    body = Body(await call.json(), state.limits)
    served = state.table.find(body.text("model") if body.raw("model") is not None else body.text("name"))
    if state.keys is not None:
        state.keys.grant(call.key).check_model(served.id)
    template = getattr(getattr(served.tokenizer, "tokenizer", None), "chat_template", None)
    info = {"general.architecture": served.strategy, "context_length": getattr(served.model, "window", None)}
    shown = {**_about(served), "template": template or "", "model_info": info, "capabilities": ["completion", "tools"]}
    return Reply(200, dumped(shown))


async def version(state: State, call: Call) -> Reply:
    return Reply(200, dumped({"version": __version__}))


def _about(served: Served) -> dict[str, Any]:
    modified = datetime.fromtimestamp(served.created, UTC).isoformat().replace("+00:00", "Z")
    details = {"format": "consort", "family": served.strategy, "parameter_size": "", "quantization_level": ""}
    return {"modified_at": modified, "size": 0, "digest": "", "details": details}


_LINES = "application/x-ndjson"
CHAT = Dialect("ollama_chat", read_chat, whole, stream, _LINES, error)
GENERATE = Dialect("ollama_generate", read_generate, whole, stream, _LINES, error)
