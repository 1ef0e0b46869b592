"""Messages, Ollama, and tools and structured output in chat completions."""

from __future__ import annotations

import json

import pytest

from tests.server.conftest import chat, events

TOOL = {
    "name": "add",
    "description": "a sum",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"enum": [1, 2]}},
        "required": ["a"],
        "additionalProperties": False,
    },
}
OPENAI_TOOL = {"type": "function", "function": {"name": "add", "parameters": TOOL["input_schema"]}}


def message(**fields):
    return {"model": "letters", "max_tokens": 6, "messages": [{"role": "user", "content": "abc"}], **fields}


def blocks_of(text):
    found = []
    for block in filter(None, text.split("\n\n")):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        data = json.loads(lines["data"])
        assert lines["event"] == data["type"]
        found.append(data)
    return found


def test_messages(client):
    body = client.post("/v1/messages", json=message(temperature=0)).json()
    assert body["type"] == "message" and body["role"] == "assistant" and body["stop_reason"] == "max_tokens"
    assert body["content"] == [{"type": "text", "text": body["content"][0]["text"]}]
    found = blocks_of(client.post("/v1/messages", json=message(temperature=0, stream=True)).text)
    kinds = [event["type"] for event in found]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    text = "".join(e["delta"]["text"] for e in found if e["type"] == "content_block_delta")
    assert text == body["content"][0]["text"]
    assert found[-2]["usage"]["output_tokens"] == body["usage"]["output_tokens"] == 6


def test_messages_stop_sequence(client):
    text = client.post("/v1/messages", json=message(temperature=0, max_tokens=20)).json()["content"][0]["text"]
    body = client.post("/v1/messages", json=message(temperature=0, max_tokens=20, stop_sequences=[text[3:5]])).json()
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", text[3:5])


def test_messages_tools_and_counts(client):
    fields = message(tools=[TOOL], tool_choice={"type": "any"}, max_tokens=100, temperature=0)
    body = client.post("/v1/messages", json=fields).json()
    (block,) = body["content"]
    assert body["stop_reason"] == "tool_use" and block["type"] == "tool_use" and block["input"]["a"] in (1, 2)
    found = blocks_of(client.post("/v1/messages", json={**fields, "stream": True}).text)
    partial = "".join(e["delta"]["partial_json"] for e in found if e["type"] == "content_block_delta")
    assert json.loads(partial) == block["input"]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "3"}]}
    said = {"role": "assistant", "content": [{"type": "text", "text": "x"}, block]}
    later = message(messages=[*fields["messages"], said, result], tools=[TOOL])
    assert client.post("/v1/messages", json=later).status_code == 200
    count = client.post("/v1/messages/count_tokens", json=later).json()["input_tokens"]
    assert count == client.post("/v1/messages", json=later).json()["usage"]["input_tokens"]


def test_messages_errors_have_their_own_shape(client):
    answer = client.post("/v1/messages", json={"model": "letters", "messages": []})
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "max_tokens: is required"},
    }


def test_ollama(client):
    fields = {"model": "letters:latest", "messages": [{"role": "user", "content": "abc"}]}
    fields["options"] = {"temperature": 0, "num_predict": 5}
    lines = [json.loads(line) for line in client.post("/api/chat", json=fields).text.splitlines()]
    whole = client.post("/api/chat", json={**fields, "stream": False}).json()
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert whole["done_reason"] == "length" and whole["eval_count"] == 5 and whole["total_duration"] > 0
    made = client.post("/api/generate", json={"model": "letters", "prompt": "abc", "stream": False, "raw": True}).json()
    assert made["done"] and isinstance(made["response"], str)
    assert client.get("/api/tags").json()["models"][0]["name"] == "letters:latest"
    assert client.post("/api/show", json={"model": "letters"}).status_code == 200
    assert client.get("/api/version").json()["version"]
    assert "letters" in client.post("/api/chat", json={**fields, "model": "leters"}).json()["error"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["letters", "average", "speculate"])
def test_a_call_that_is_required(client, model, stream):
    fields = chat(model=model, tools=[OPENAI_TOOL], tool_choice="required", max_tokens=100, stream=stream)
    answer = client.post("/v1/chat/completions", json=fields)
    if stream:
        deltas = [e["choices"][0] for e in events(answer.text)[:-1]]
        (call,) = [d["delta"]["tool_calls"][0] for d in deltas if "tool_calls" in d["delta"]]
        assert deltas[-1]["finish_reason"] == "tool_calls" and call["index"] == 0
        assert not "".join(d["delta"].get("content") or "" for d in deltas)
    else:
        choice = answer.json()["choices"][0]
        (call,) = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert call["type"] == "function" and call["function"]["name"] == "add" and call["id"].startswith("call_")
    assert json.loads(call["function"]["arguments"])["a"] in (1, 2)


@pytest.mark.parametrize("model", ["letters", "average", "speculate"])
@pytest.mark.parametrize(
    ("fields", "holds"),
    [
        ({"guided_choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
        ({"guided_regex": "[0-9]{3}"}, lambda text: len(text) == 3 and text.isdigit()),
        ({"guided_grammar": 'start: "a" | "b" start'}, lambda text: text.strip("b") == "a"),
        ({"guided_json": {"enum": ["a", 7]}}, lambda text: json.loads(text) in ("a", 7)),
        ({"response_format": {"type": "json_object"}, "logit_bias": {"14": 90}}, lambda text: text.startswith("{")),
    ],
)
def test_structured_output(client, model, fields, holds):
    answer = client.post("/v1/chat/completions", json=chat(model=model, temperature=1, seed=1, max_tokens=40, **fields))
    assert holds(answer.json()["choices"][0]["message"]["content"]), answer.text


def test_embeddings_of_models_without_are_refused(client):
    answer = client.post("/v1/embeddings", json={"model": "letters", "input": "abc"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "model"
