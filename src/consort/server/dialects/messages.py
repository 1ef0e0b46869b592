"""Anthropic's /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from consort.models.remote.wire.objects import dumped
from consort.server.dialects.dialect import Dialect, Exchange
from consort.server.errors import ApiError, invalid
from consort.server.fields import Body, call_message, chat_of, choice_of, stop_of, text_of_content, tool_of, whole_text
from consort.server.http import Call, Reply
from consort.server.request import Answer, Event, Request, TextDelta, ToolCall
from consort.server.table import Served
from consort.server.work import fresh_seed

if TYPE_CHECKING:
    from consort.server.app import State

from consort.core.types import Chat, Sampling

ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error(known: ApiError) -> Mapping[str, Any]:
    return {"type": "error", "error": {"type": ERRORS.get(known.status, "api_error"), "message": known.message}}


def read(body: Body, served: Served) -> Request:
    most = body.count("max_tokens", None, 1, body.limits.max_tokens)
    if most is None:
        raise invalid("max_tokens", "is required", "missing_required_parameter")
    tools = _tools(body)
    choice = choice_of(body, tools)
    temperature = body.number("temperature", 1.0, 0, 2)
    sampling = Sampling(
        max_tokens=most,
        temperature=temperature,
        top_p=max(body.number("top_p", 1.0, 0, 1), 1e-9),
        top_k=max(0, body.count("top_k", 0, -1, 2**31) or 0),
        stop=stop_of(body, "stop_sequences"),
        seed=fresh_seed() if temperature else 0,
    )
    return Request(
        model=served.id,
        prompts=(chat_of(messages(body), tools, choice),),
        sampling=sampling,
        stream=body.flag("stream"),
        tools=tools,
        tool_choice=choice,
    )


def _tools(body: Body) -> tuple[Mapping[str, Any], ...]:
    found = []
    for i, tool in enumerate(body.items("tools", body.limits.tools)):
        if not isinstance(tool, Mapping):
            raise invalid(f"tools[{i}]", "must be an object")
        if tool.get("type", "custom") != "custom":
            continue  # a server's own tools are not here
        if not isinstance(tool.get("name"), str) or not tool["name"]:
            raise invalid(f"tools[{i}].name", "must be a string")
        found.append(tool_of(tool, f"tools[{i}]", "input_schema"))
    return tuple(found)


def messages(body: Body) -> list[Any]:
    """The turns in the common form: results of tools become turns of their own, as templates want it."""
    found: list[Any] = []
    system = body.raw("system")
    if system is not None:
        found.append({"role": "system", "content": text_of_content(system, "system")})
    given = body.items("messages", body.limits.messages)
    if not given:
        raise invalid("messages", "must be a list with at least one message", "missing_required_parameter")
    for i, message in enumerate(given):
        where = f"messages[{i}]"
        if not isinstance(message, Mapping):
            raise invalid(where, "must be an object")
        if message.get("role") not in ("user", "assistant"):
            raise invalid(f"{where}.role", "must be user or assistant")
        found += _turns(message["role"], message.get("content"), f"{where}.content")
    return found


def _turns(role: str, content: Any, where: str) -> list[Any]:
    if isinstance(content, str):
        return [{"role": role, "content": whole_text(content, where)}]
    if not isinstance(content, list) or not content:
        raise invalid(where, "must be a string or a list of blocks")
    said: list[str] = []
    calls: list[Any] = []
    results: list[Any] = []
    for i, block in enumerate(content):
        kind = block.get("type") if isinstance(block, Mapping) else None
        at = f"{where}[{i}]"
        if kind == "text":
            said.append(whole_text(block.get("text"), f"{at}.text"))
        elif kind == "tool_use":
            calls.append(call_message(block.get("id"), block.get("name"), block.get("input"), at))
        elif kind == "tool_result":
            output = block.get("content")
            text = "" if output is None else text_of_content(output, f"{at}.content")
            identity = whole_text(block.get("tool_use_id") or "", f"{at}.tool_use_id")
            results.append({"role": "tool", "content": text, "tool_call_id": identity})
        elif kind not in ("thinking", "redacted_thinking"):
            raise invalid(at, f"{str(kind)[:40]!r} blocks are not supported", "unsupported_content")
    turn: dict[str, Any] = {"role": role, "content": "".join(said)}
    if calls:
        turn["tool_calls"] = calls
    return [*results, *([turn] if said or calls or not results else [])]


def _stop(exchange: Exchange, answer: Answer) -> tuple[str, str | None]:
    if answer.calls:
        return "tool_use", None
    if answer.finish == "length":
        return "max_tokens", None
    sequence = _stopped_by(exchange, answer)
    return ("end_turn", None) if sequence is None else ("stop_sequence", sequence)


def _stopped_by(exchange: Exchange, answer: Answer) -> str | None:
    """The stop string that ended the answer: what its tokens write goes on with it where the text ends."""
    tokens, tokenizer = answer.completion.tokens, exchange.served.tokenizer
    if answer.finish != "stop" or tokenizer is None or not tokens:
        return None
    written, said = tokenizer.decode(tokens).lstrip(), answer.text.lstrip()
    return next((s for s in exchange.request.sampling.stop if written.startswith(s, len(said))), None)


def whole(exchange: Exchange, answers: Sequence[Answer]) -> dict[str, Any]:
    (answer,) = answers
    content: list[dict[str, Any]] = []
    if answer.text or not answer.calls:
        content.append({"type": "text", "text": answer.text})
    content += [{**_tool_use(call), "input": json.loads(call.arguments)} for call in answer.calls]
    reason, sequence = _stop(exchange, answer)
    made = {**_head(exchange), "content": content, "stop_reason": reason, "stop_sequence": sequence}
    return {**made, "usage": _usage(answer), "consort": exchange.account(answers)}


def _head(exchange: Exchange) -> dict[str, Any]:
    return {"id": f"msg_{exchange.context.id}", "type": "message", "role": "assistant", "model": exchange.model}


def _usage(answer: Answer) -> dict[str, Any]:
    usage = answer.completion.usage
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{call.id.removeprefix('call_')}", "name": call.name, "input": {}}


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + dumped({"type": kind, **fields}) + b"\n\n"


async def stream(exchange: Exchange, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    empty: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
    usage = {"input_tokens": 0, "output_tokens": 0}
    yield _event("message_start", message={**_head(exchange), **empty, "usage": usage}) + _event("ping")
    said = False
    try:
        async for one in events:
            if isinstance(one, TextDelta):
                yield (b"" if said else _open_text()) + _text(one.text)
                said = True
            else:
                yield _end(exchange, one, said)
    except Exception as fault:
        known = exchange.failed(fault)
        yield _event("error", **{k: v for k, v in error(known).items() if k != "type"})


def _open_text() -> bytes:
    return _event("content_block_start", index=0, content_block={"type": "text", "text": ""})


def _text(text: str) -> bytes:
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def _end(exchange: Exchange, answer: Answer, said: bool) -> bytes:
    made = b""
    if not said and (answer.text or not answer.calls):
        made += _open_text() + (_text(answer.text) if answer.text else b"")
        said = True
    made += _event("content_block_stop", index=0) if said else b""
    for index, call in enumerate(answer.calls, int(said)):
        delta = {"type": "input_json_delta", "partial_json": call.arguments}
        made += _event("content_block_start", index=index, content_block=_tool_use(call))
        made += _event("content_block_delta", index=index, delta=delta) + _event("content_block_stop", index=index)
    reason, sequence = _stop(exchange, answer)
    end: dict[str, Any] = {"stop_reason": reason, "stop_sequence": sequence}
    account = exchange.account([answer])
    return made + _event("message_delta", delta=end, usage=_usage(answer), consort=account) + _event("message_stop")


async def count_tokens(state: State, call: Call) -> Reply:
    """How many tokens a request to /v1/messages would be read as."""
    from consort.models.tokens.tokenizer import read_chat
    from consort.server.handlers import with_tokenizer

    body = Body(await call.json(), state.limits)
    tools = _tools(body)
    chat: Chat = chat_of(messages(body), tools, choice_of(body, tools))
    body.text("model")
    served = with_tokenizer(state, call, body)
    count = len(await asyncio.to_thread(read_chat, served.tokenizer, chat))
    return Reply(200, dumped({"input_tokens": count}))


MESSAGES = Dialect("messages", read, whole, stream, error=error)
