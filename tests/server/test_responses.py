"""/v1/responses: the seven conformance templates of Open Responses, and what must be refused."""

from __future__ import annotations

import json

import pytest

KEYS = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id",
    "instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p",
    "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "max_output_tokens",
    "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "the weather at a place",
    "parameters": {
        "type": "object",
        "properties": {"place": {"enum": ["here", "there"]}},
        "required": ["place"],
        "additionalProperties": False,
    },
}


def ask(client, **fields):
    return client.post("/v1/responses", json={"model": "letters", "max_output_tokens": 6, "temperature": 0, **fields})


def streamed(client, **fields):
    text = ask(client, stream=True, **fields).text
    found = []
    for block in filter(None, text.split("\n\n")):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        if lines["data"] != "[DONE]":
            data = json.loads(lines["data"])
            assert lines["event"] == data["type"]
            found.append(data)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert all(e["response"]["model"] == "letters" for e in found if "response" in e)
    return found


def user(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def text_of(body):
    (item,) = [item for item in body["output"] if item["type"] == "message"]
    (part,) = item["content"]
    assert part["type"] == "output_text" and part["annotations"] == [] and part["logprobs"] == []
    return part["text"]


def test_basic(client):
    body = ask(client, input="abc").json()
    assert set(body) - {"consort"} == KEYS and body["object"] == "response"
    assert body["status"] in ("completed", "incomplete") and body["error"] is None and text_of(body)
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert set(usage) == {
        "input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details",
    }  # fmt: skip
    assert text_of(ask(client, input=[user("abc")]).json()) == text_of(body)


def test_streaming(client):
    whole, found = ask(client, input="abc").json(), streamed(client, input="abc")
    kinds = [event["type"].removeprefix("response.") for event in found]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:-1] == ["output_text.done", "content_part.done", "output_item.done"]
    assert kinds[-1] == whole["status"] and set(kinds[4:-4]) == {"output_text.delta"}
    text = "".join(event["delta"] for event in found if event["type"].endswith("text.delta"))
    assert text == text_of(whole) == text_of(found[-1]["response"])
    assert found[-1]["response"]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_system_prompt(client):
    told = ask(client, input="abc", instructions="be brief").json()
    item = {"type": "message", "role": "developer", "content": "be brief"}
    assert text_of(told) == text_of(ask(client, input=[item, user("abc")]).json())
    assert told["instructions"] == "be brief"
    assert told["usage"]["input_tokens"] > ask(client, input="abc").json()["usage"]["input_tokens"]


@pytest.mark.parametrize("model", ["letters", "average", "speculate"])
def test_tool_calling(client, model):
    fields = {"tools": [TOOL], "tool_choice": "required", "max_output_tokens": 120, "model": model}
    body = ask(client, input="abc", **fields).json()
    (call,) = body["output"]
    assert call["type"] == "function_call" and call["name"] == "get_weather" and call["call_id"]
    assert json.loads(call["arguments"])["place"] in ("here", "there")
    assert body["tools"] == [TOOL] and body["tool_choice"] == "required"


def test_streaming_tool_calls(client):
    fields = {"tools": [TOOL], "tool_choice": {"type": "function", "name": "get_weather"}, "max_output_tokens": 120}
    found = streamed(client, input="abc", **fields)
    deltas = [e["delta"] for e in found if e["type"] == "response.function_call_arguments.delta"]
    (done,) = [e for e in found if e["type"] == "response.function_call_arguments.done"]
    assert "".join(deltas) == done["arguments"] and json.loads(done["arguments"])
    assert found[-1]["type"] == "response.completed"
    assert found[-1]["response"]["output"][0]["arguments"] == done["arguments"]
    assert not [e for e in found if e["type"] == "response.output_text.delta"]


def test_image_input_is_refused_clearly(client):
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    answer = ask(client, input=[{"type": "message", "role": "user", "content": [image]}])
    assert answer.status_code == 400 and "input_image" in answer.json()["error"]["message"]


def test_multi_turn(client):
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "cab"}]}
    call = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"place": "here"}'}
    result = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
    thought = {"type": "reasoning", "summary": []}
    body = ask(client, input=[user("abc"), said, thought, call, result, user("d")], tools=[TOOL]).json()
    assert body["output"] and body["usage"]["input_tokens"] > 40


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "a", "previous_response_id": "resp_1"},
        {"input": "a", "background": True},
        {"input": []},
        {"input": [{"type": "wizard"}]},
        {"input": [{"type": "message", "role": "wizard", "content": "a"}]},
        {"input": 3},
    ],
)
def test_what_is_refused(client, fields):
    assert ask(client, **fields).status_code == 400


def test_what_codex_sends_is_taken(client):
    fields = {
        "client_metadata": {"a": "b"}, "include": ["reasoning.encrypted_content"], "instructions": "x",
        "parallel_tool_calls": False, "prompt_cache_key": "k", "reasoning": {"effort": "low"}, "store": False,
        "tool_choice": "auto", "tools": [TOOL, {"type": "web_search"}, {"type": "local_shell"}],
    }  # fmt: skip
    body = ask(client, input=[user("abc")], **fields).json()
    assert body["status"] in ("completed", "incomplete") and body["prompt_cache_key"] == "k"


def test_a_schema(client):
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    text = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
    assert json.loads(text_of(ask(client, input="abc", text=text, max_output_tokens=40).json()))["a"] in (1, 2)
