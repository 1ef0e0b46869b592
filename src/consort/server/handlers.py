"""What is asked beside answers: models, health, metrics, tokens, embeddings."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from consort.core.types import Usage
from consort.models.remote.wire.objects import dumped
from consort.server.errors import ApiError, invalid
from consort.server.fields import Body, chat_of, messages_of, whole_text
from consort.server.http import Call, Reply
from consort.server.request import ToolChoice
from consort.server.table import Served
from consort.server.told import spellings

if TYPE_CHECKING:
    from consort.server.app import State


def reply(value: Any, status: int = 200) -> Reply:
    return Reply(status, dumped(value))


async def health(state: State, call: Call) -> Reply:
    return reply({"status": "ok"})


async def ready(state: State, call: Call) -> Reply:
    if not state.ready or state.closing:
        raise ApiError(503, "not ready", code="not_ready", headers={"retry-after": "1"})
    return reply({"status": "ready", "models": len(state.table.models)})


async def metrics(state: State, call: Call) -> Reply:
    text = await asyncio.to_thread(state.metrics.text, state.scheduler.at_work, state.in_flight)
    return Reply(200, text, kind="text/plain; version=0.0.4; charset=utf-8")


def allowed(state: State, call: Call) -> list[Served]:
    """The models that the call's key may use."""
    grant = state.keys.grant(call.key) if state.keys is not None else None
    return [served for served in state.table.models.values() if grant is None or grant.may(served.id)]


async def models(state: State, call: Call) -> Reply:
    return reply({"object": "list", "data": [served.document() for served in allowed(state, call)]})


async def model(state: State, call: Call) -> Reply:
    served = state.table.find(call.rest)
    if state.keys is not None:
        state.keys.grant(call.key).check_model(served.id)
    return reply(served.document())


def with_tokenizer(state: State, call: Call, body: Body) -> Served:
    """The model whose tokens are meant: as named, else the first that has a tokenizer. Raises ApiError."""
    if body.raw("model") is not None:
        served = state.table.find(body.text("model"))
        if state.keys is not None:
            state.keys.grant(call.key).check_model(served.id)
        if served.tokenizer is None:
            raise invalid("model", f"{served.id} has no tokenizer")
        return served
    found = next((served for served in allowed(state, call) if served.tokenizer is not None), None)
    if found is None:
        raise ApiError(404, "no model here has a tokenizer", param="model", code="model_not_found")
    return found


async def tokenizer_info(state: State, call: Call) -> Reply:
    from urllib.parse import parse_qs

    query = parse_qs(call.scope.get("query_string", b"").decode("latin-1"))
    named = {"model": query["model"][0]} if "model" in query else {}
    served = with_tokenizer(state, call, Body(named, state.limits))
    tokenizer = served.tokenizer
    inner, names = getattr(tokenizer, "tokenizer", None), await asyncio.to_thread(spellings, tokenizer)

    def name(token: int | None) -> str | None:
        return None if token is None or token >= len(names) else names[token].decode("utf-8", "replace")

    pad = getattr(inner, "pad_token", None)
    return reply(
        {
            "tokenizer_class": type(inner if inner is not None else tokenizer).__name__,
            "bos_token": name(tokenizer.bos),
            "eos_token": name(tokenizer.eos),
            "pad_token": pad if isinstance(pad, str) else name(tokenizer.eos),
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": getattr(served.model, "window", None),
            "chat_template": getattr(inner, "chat_template", None),
        }
    )


async def tokenize(state: State, call: Call) -> Reply:
    from consort.models.tokens.tokenizer import read_chat

    body = Body(await call.json(), state.limits)
    served = with_tokenizer(state, call, body)
    tokenizer = served.tokenizer
    if body.raw("messages") is not None:
        chat = chat_of(messages_of(body), (), ToolChoice())
        tokens = await asyncio.to_thread(read_chat, tokenizer, chat)
    else:
        special = body.flag("add_special_tokens", True)
        text = body.text("prompt") if body.raw("prompt") is not None or body.raw("text") is None else body.text("text")
        tokens = await asyncio.to_thread(tokenizer.encode, text, special=special)
    window = getattr(served.model, "window", None)
    return reply({"tokens": tokens, "count": len(tokens), "max_model_len": window})


async def detokenize(state: State, call: Call) -> Reply:
    body = Body(await call.json(), state.limits)
    tokenizer = with_tokenizer(state, call, body).tokenizer
    tokens = body.items("tokens", 10**6)
    if any(type(token) is not int or not 0 <= token < tokenizer.vocab_size for token in tokens):
        raise invalid("tokens", f"must be token ids from 0 to {tokenizer.vocab_size - 1}")
    return reply({"prompt": await asyncio.to_thread(tokenizer.decode, tokens)})


async def embeddings(state: State, call: Call) -> Reply:
    """Mean of the last hidden states over a text's tokens, of length 1: what a causal model has of it."""
    from consort.server.embedding import embedded

    body = Body(await call.json(), state.limits)
    served = state.table.find(body.text("model"))
    if state.keys is not None:
        state.keys.grant(call.key).check_model(served.id)
    given = body.raw("input")
    texts = [given] if isinstance(given, str) else body.items("input", state.limits.prompts)
    if not texts:
        raise invalid("input", "must be a string or a list of strings", "missing_required_parameter")
    if isinstance(texts[0], int):
        raise invalid("input", "must be texts, not token ids")
    texts = [whole_text(text, "input") for text in texts]
    kind = body.text("encoding_format", "float")
    if kind not in ("float", "base64"):
        raise invalid("encoding_format", "must be float or base64")
    size = body.count("dimensions", None, 1, 2**20)
    vectors, count = await asyncio.wrap_future(state.scheduler.call(lambda: embedded(served, texts, size)))
    data = [
        {"object": "embedding", "index": i, "embedding": vector if kind == "float" else _packed(vector)}
        for i, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": count, "total_tokens": Usage(count).total_tokens}
    return reply({"object": "list", "data": data, "model": served.id, "usage": usage})


def _packed(vector: list[float]) -> str:
    import base64
    import struct

    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def now() -> int:
    return int(time.time())
