"""The OpenAPI document of the server, from its routes and the caps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from consort.core.version import __version__
from consort.server.limits import Limits

if TYPE_CHECKING:
    from consort.server.routes import Routes

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}


def _number(low: float, high: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high}


def _count(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _list(items: Schema, low: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": low}


def _any(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def schemas(limits: Limits, models: Sequence[str]) -> dict[str, Schema]:
    """The body of each request, by the route's name; `models` are the ids that there are."""
    tokens = _count(0, limits.max_tokens)
    part = _object(["type", "text"], type={"enum": ["text"]}, text=TEXT)
    content = _any(TEXT, _list(part))
    message = _object(["role", "content"], role={"enum": ["system", "user", "assistant"]}, content=content)
    function = _object(
        ["name"], name={"type": "string", "minLength": 1}, description=TEXT, parameters={"type": "object"}
    )
    tool = _object(["type", "function"], type={"enum": ["function"]}, function=function)
    settings: dict[str, Schema] = {
        "temperature": _number(0, 100),
        "top_p": _number(0, 1),
        "stop": _any(TEXT, {**_list(TEXT), "maxItems": limits.stop}),
        "seed": _count(-(2**63), 2**63),
        "frequency_penalty": _number(-100, 100),
        "presence_penalty": _number(-100, 100),
        "logit_bias": {"type": "object", "additionalProperties": _number(-1000, 1000)},
        "n": _count(1, limits.n),
        "stream": FLAG,
    }
    chat = {"messages": _list(message, 1), "max_tokens": tokens, "tools": _list(tool), **settings}
    chat |= {"logprobs": FLAG, "top_logprobs": _count(0, limits.top_logprobs), "response_format": {"type": "object"}}
    ids = _list(_count(0, 2**31 - 1), 1)
    prompt = _any(TEXT, _list(TEXT, 1), ids, _list(ids, 1))
    completion = {"prompt": prompt, "max_tokens": tokens, "echo": FLAG, "logprobs": _count(0, 20), **settings}
    item = _object(["type", "role", "content"], type={"enum": ["message"]}, role={"enum": ["user"]}, content=TEXT)
    block = _object(["type", "text"], type={"enum": ["text"]}, text=TEXT)
    turn = _object(["role", "content"], role={"enum": ["user", "assistant"]}, content=_any(TEXT, _list(block, 1)))
    asked = {"messages": _list(turn, 1), "max_tokens": _count(1, limits.max_tokens), "system": TEXT, "stream": FLAG}
    model: dict[str, Schema] = {"model": {"type": "string", "enum": list(models)}}
    options = {"options": {"type": "object"}, "stream": FLAG}
    return {
        "chat": _object(["model", "messages"], **model, **chat),
        "completions": _object(["model", "prompt"], **model, **completion),
        "responses": _object(["model", "input"], **model, input=_any(TEXT, _list(item, 1)), stream=FLAG),
        "messages": _object(["model", "messages", "max_tokens"], **model, **asked),
        "count_tokens": _object(["model", "messages"], **model, **asked),
        "ollama_chat": _object(["model", "messages"], **model, messages=_list(message, 1), **options),
        "ollama_generate": _object(["model"], **model, prompt=TEXT, system=TEXT, raw=FLAG, **options),
        "ollama_show": _object(["model"], **model),
        "embeddings": _object(["model", "input"], **model, input=_any(TEXT, _list(TEXT, 1))),
        "tokenize": _object(["prompt"], **model, prompt=TEXT, add_special_tokens=FLAG),
        "detokenize": _object(["tokens"], **model, tokens=_list(_count(0, 2**31 - 1))),
    }


def document(routes: Routes, limits: Limits, ids: Sequence[str] = ()) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    known = schemas(limits, ids)
    error = {"description": "An error object.", "content": {"application/json": {"schema": {"type": "object"}}}}
    for route in routes.all:
        path = route.path + ("{rest}" if route.prefix else "")
        made: dict[str, Any] = {
            "operationId": route.name,
            "summary": route.summary or route.name,
            "responses": {"200": {"description": "The answer."}, "default": error},
        }
        if route.prefix:
            made["parameters"] = [{"name": "rest", "in": "path", "required": True, "schema": TEXT}]
        if route.name in known:
            made["requestBody"] = {"required": True, "content": {"application/json": {"schema": known[route.name]}}}
        paths.setdefault(path, {})[route.method.lower()] = made
    info = {"title": "consort", "version": __version__, "description": "Any plan as a model."}
    return {"openapi": "3.1.0", "info": info, "paths": paths}
