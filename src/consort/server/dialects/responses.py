"""/v1/responses, as the Open Responses specification has it: stateless, text and function calls."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from consort.core.types import Message
from consort.models.remote.wire.objects import dumped
from consort.server.dialects.dialect import Dialect, Exchange
from consort.server.dialects.openai import CHAT_TOKENS
from consort.server.errors import invalid
from consort.server.fields import (
    Body,
    call_message,
    chat_of,
    choice_of,
    format_of,
    sampling_of,
    text_of_content,
    tool_of,
    whole_text,
)
from consort.server.request import Answer, Event, Request, TextDelta, ToolCall
from consort.server.table import Served
from consort.server.work import fresh_seed

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
ECHOED = (
    "instructions",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "temperature",
    "reasoning",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
)
"""What a response says of its request."""
DEFAULTS: dict[str, Any] = {
    "tools": [],
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "temperature": 1.0,
    "store": False,
    "background": False,
    "service_tier": "default",
    "metadata": {},
}


def read(body: Body, served: Served) -> Request:
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.raw(name) is not None:
            what = "is not supported: this server keeps no conversations; send the whole history"
            raise invalid(name, what, "unsupported")
    if body.flag("background"):
        raise invalid("background", "is not supported", "unsupported")
    tools = _tools(body)
    choice = choice_of(body, tools)
    text = Body(body.mapping("text"), body.limits, where="text")
    plain = {k: v for k, v in body.fields.items() if k not in ("response_format", "max_tokens", "text", "stop")}
    sampling = sampling_of(
        Body(plain, body.limits), default_tokens=CHAT_TOKENS, max_names=("max_output_tokens", "max_tokens")
    )
    sampling = replace(sampling, grammar=format_of(text.raw("format"), "text.format"))
    if body.raw("seed") is None and sampling.temperature:
        sampling = replace(sampling, seed=fresh_seed())
    messages = _messages(body)
    shape = {name: body.raw(name) for name in ECHOED}
    return Request(
        model=served.id,
        prompts=(chat_of(messages, tools, choice),),
        sampling=sampling,
        stream=body.flag("stream"),
        tools=tools,
        tool_choice=choice,
        prompt_field="input",
        shape=shape,
    )


def _tools(body: Body) -> tuple[Mapping[str, Any], ...]:
    """Functions in the flat form; other kinds are for the client or for others to run, and no model here calls them."""
    found = []
    for i, tool in enumerate(body.items("tools", body.limits.tools)):
        if not isinstance(tool, Mapping) or not isinstance(tool.get("type"), str):
            raise invalid(f"tools[{i}].type", "must be a string")
        if tool["type"] != "function":
            continue
        function = tool.get("function", tool)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            raise invalid(f"tools[{i}].name", "must be a string")
        found.append(tool_of(function, f"tools[{i}]"))
    return tuple(found)


def _messages(body: Body) -> list[Message]:
    found: list[Message] = []
    instructions = body.raw("instructions")
    if instructions is not None:
        found.append({"role": "system", "content": whole_text(instructions, "instructions")})
    given = body.raw("input")
    if isinstance(given, str):
        return [*found, {"role": "user", "content": whole_text(given, "input")}]
    items = body.items("input", body.limits.messages)
    if not items:
        raise invalid("input", "must be a string or a list of items", "missing_required_parameter")
    for i, item in enumerate(items):
        _enter(found, item, f"input[{i}]")
    return found


def _enter(messages: list[Any], item: Any, where: str) -> None:
    if not isinstance(item, Mapping):
        raise invalid(where, "must be an object")
    kind = item.get("type", "message")
    if kind == "message":
        role = ROLES.get(str(item.get("role")))
        if role is None:
            raise invalid(f"{where}.role", f"must be one of {', '.join(ROLES)}")
        messages.append({"role": role, "content": text_of_content(item.get("content"), f"{where}.content")})
    elif kind == "function_call":
        call = call_message(item.get("call_id"), item.get("name"), item.get("arguments"), where)
        last = messages[-1] if messages else {}
        if last.get("role") == "assistant":
            last.setdefault("tool_calls", []).append(call)
        else:
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
    elif kind == "function_call_output":
        output = text_of_content(item.get("output"), f"{where}.output")
        identity = whole_text(item.get("call_id") or "", f"{where}.call_id")
        messages.append({"role": "tool", "content": output, "tool_call_id": identity})
    elif kind != "reasoning":  # what was thought before is not shown again
        raise invalid(f"{where}.type", f"{str(kind)[:40]!r} items are not supported", "unsupported")


def whole(exchange: Exchange, answers: Sequence[Answer]) -> dict[str, Any]:
    (answer,) = answers
    items = [_message_item(exchange, answer.text, "completed")] if answer.text or not answer.calls else []
    items += [_call_item(call, "completed") for call in answer.calls]
    return {**response(exchange, answer, items), "consort": exchange.account(answers)}


def response(exchange: Exchange, answer: Answer | None, output: Sequence[Any], error: Any = None) -> dict[str, Any]:
    """The response object; of one that is under way without an answer."""
    shape, status, incomplete = exchange.request.shape, "in_progress", None
    if error is not None:
        status = "failed"
    elif answer is not None:
        status = "incomplete" if answer.finish == "length" else "completed"
        incomplete = {"reason": "max_output_tokens"} if status == "incomplete" else None
    told = {name: DEFAULTS.get(name) if shape.get(name) is None else shape[name] for name in ECHOED}
    return {
        "id": f"resp_{exchange.context.id}",
        "object": "response",
        "created_at": exchange.created,
        "completed_at": None if answer is None else int(time.time()),
        "status": status,
        "incomplete_details": incomplete,
        "model": exchange.model,
        "previous_response_id": None,
        "output": list(output),
        "error": error,
        **told,
        "reasoning": told["reasoning"] or {"effort": None, "summary": None},
        "usage": None if answer is None else _usage(answer),
    }


def _usage(answer: Answer) -> dict[str, Any]:
    usage = answer.completion.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message_item(exchange: Exchange, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [_part(text)]
    made = {"type": "message", "id": f"msg_{exchange.context.id}", "status": status, "role": "assistant"}
    return {**made, "content": content}


def _call_item(call: ToolCall, status: str, arguments: str | None = None) -> dict[str, Any]:
    made = {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "name": call.name}
    return {**made, "arguments": call.arguments if arguments is None else arguments, "status": status}


class Events:
    """Writes the events of one stream; each has its number."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self.number = exchange, 0
        self.text = ""
        self.is_open = False
        self.output: list[dict[str, Any]] = []

    def event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self.number, **fields}
        self.number += 1
        return f"event: {kind}\n".encode() + b"data: " + dumped(data) + b"\n\n"

    def begin(self) -> bytes:
        made = response(self.exchange, None, [])
        return self.event("response.created", response=made) + self.event("response.in_progress", response=made)

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self.exchange.context.id}", "output_index": 0, "content_index": 0}

    def delta(self, text: str) -> bytes:
        made = b""
        if not self.is_open:
            self.is_open = True
            item = _message_item(self.exchange, None, "in_progress")
            made += self.event("response.output_item.added", output_index=0, item=item)
            made += self.event("response.content_part.added", **self.place, part=_part(""))
        self.text += text
        return made + (self.event("response.output_text.delta", **self.place, delta=text, logprobs=[]) if text else b"")

    def end_of_text(self) -> bytes:
        part, item = _part(self.text), _message_item(self.exchange, self.text, "completed")
        self.output.append(item)
        made = self.event("response.output_text.done", **self.place, text=self.text, logprobs=[])
        made += self.event("response.content_part.done", **self.place, part=part)
        return made + self.event("response.output_item.done", output_index=0, item=item)

    def call(self, call: ToolCall) -> bytes:
        at = len(self.output)
        place = {"item_id": f"fc_{call.id}", "output_index": at}
        made = self.event("response.output_item.added", output_index=at, item=_call_item(call, "in_progress", ""))
        made += self.event("response.function_call_arguments.delta", **place, delta=call.arguments)
        made += self.event("response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments)
        item = _call_item(call, "completed")
        self.output.append(item)
        return made + self.event("response.output_item.done", output_index=at, item=item)

    def end(self, answer: Answer) -> bytes:
        made = b""
        if answer.text and not self.text:
            made += self.delta(answer.text)
        if self.is_open or not answer.calls:
            made += (b"" if self.is_open else self.delta("")) + self.end_of_text()
        for call in answer.calls:
            made += self.call(call)
        whole = response(self.exchange, answer, self.output)
        kind = "response.incomplete" if whole["status"] == "incomplete" else "response.completed"
        return made + self.event(kind, response={**whole, "consort": self.exchange.account([answer])})

    def failed(self, error: Exception) -> bytes:
        known = self.exchange.failed(error)
        told = {"code": known.code or known.kind, "message": known.message}
        return self.event("response.failed", response=response(self.exchange, None, self.output, told))


async def stream(exchange: Exchange, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    writer = Events(exchange)
    yield writer.begin()
    try:
        async for one in events:
            yield writer.delta(one.text) if isinstance(one, TextDelta) else writer.end(one)
    except Exception as error:
        yield writer.failed(error)
        return
    yield b"data: [DONE]\n\n"


RESPONSES = Dialect("responses", read, whole, stream)
