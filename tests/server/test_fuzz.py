"""The OpenAPI document, and requests bent at random: nothing is answered by a 5xx."""

from __future__ import annotations

import copy
import json
import random

import pytest

from tests.server.conftest import chat

STRANGE = [
    None,
    True,
    0,
    -1,
    1e308,
    10**30,
    "",
    "x",
    "\u0000",
    "\ud83d\ude00" * 3,
    [],
    {},
    [None],
    [[]],
    {"type": "x"},
    [{}],
]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
BASES = {
    "/v1/chat/completions": chat(
        tools=[TOOL], tool_choice="auto", n=2, stop=["a"], logit_bias={"3": 1}, logprobs=True, top_logprobs=2,
        response_format={"type": "json_schema", "json_schema": {"schema": {"enum": [1]}}}, stream_options={},
    ),
    "/v1/completions": {"model": "average", "prompt": [[1, 2]], "max_tokens": 3, "echo": True, "logprobs": 1},
    "/v1/responses": {
        "model": "letters", "input": [{"type": "message", "role": "user", "content": "a"}], "max_output_tokens": 3,
        "text": {"format": {"type": "text"}}, "tools": [{"type": "function", "name": "f"}], "metadata": {},
    },
    "/v1/messages": {
        "model": "speculate", "max_tokens": 3, "tools": [{"name": "f", "input_schema": {}}],
        "system": "s", "stop_sequences": ["z"],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
    },
    "/api/chat": {"model": "letters", "messages": [{"role": "user", "content": "a"}], "options": {"num_predict": 3}},
    "/tokenize": {"model": "letters", "prompt": "abc", "add_special_tokens": True},
    "/detokenize": {"model": "letters", "tokens": [1, 2]},
    "/v1/embeddings": {"model": "letters", "input": ["a"], "encoding_format": "float"},
    "/consort/view": {"model": "average", "prompt": "a", "max_tokens": 2},
}  # fmt: skip


def test_the_document(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for path in BASES:
        assert "post" in document["paths"][path]
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "average" in body["properties"]["model"]["enum"]


def bent(rng, value):
    """The value with one thing in it, at any depth, made strange."""
    value = copy.deepcopy(value)
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.6:
            place = place[key]
            continue
        if rng.random() < 0.2:
            del place[key]
        else:
            place[key] = rng.choice(STRANGE)
        return value


def attack(client, count):
    rng = random.Random(11)
    seen = set()
    for number in range(count):
        path = rng.choice(list(BASES))
        body = bent(rng, BASES[path])
        if rng.random() < 0.3:
            body = bent(rng, body) if body else body
        answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
        assert answer.status_code < 500, (number, path, body, answer.text[:300])
        if answer.status_code >= 400:
            assert answer.json(), answer.text
        seen.add(answer.status_code)
    return seen


def test_bent_requests(client):
    assert {200, 400, 404} <= attack(client, 300)


@pytest.mark.slow
def test_many_bent_requests(client):
    attack(client, 10_000)


def test_what_open_webui_sends(client):
    """A chat, then a title, tags and a merged answer, each with its task named; no reply is empty."""
    for task in (None, "title_generation", "tags_generation", "moa_response_generation"):
        fields = chat(stream=True, stream_options={"include_usage": True}, metadata={"task": task} if task else {})
        answer = client.post("/v1/chat/completions", json={**fields, "chat_id": "x", "session_id": "y", "id": "z"})
        assert answer.status_code == 200 and '"content":"' in answer.text and answer.text.endswith("data: [DONE]\n\n")
    models = client.get("/v1/models").json()["data"]
    assert all(model["id"] and model.get("name", "") is not None for model in models)
