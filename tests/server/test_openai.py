"""/v1/chat/completions and /v1/completions: shapes, streams, log-probabilities, errors."""

from __future__ import annotations

import math

import pytest

from consort.core.types import Sampling
from tests.server.conftest import chat, events

ALL = ("letters", "average", "speculate", "cascade", "vote", "echo")


@pytest.mark.parametrize("model", ALL)
def test_a_chat(client, served, model):
    answer = client.post("/v1/chat/completions", json=chat(model=model, temperature=0))
    body = answer.json()
    assert answer.status_code == 200
    right = served[model].generate([({"role": "user", "content": "abc"},)], Sampling(max_tokens=8))[0]
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": right.text}
    assert choice["finish_reason"] == right.finish_reason
    assert body["object"] == "chat.completion" and body["model"] == model
    assert body["usage"]["completion_tokens"] == right.usage.completion_tokens
    assert body["usage"]["prompt_tokens"] == right.usage.prompt_tokens
    assert set(body["consort"]["cost"]) == set(right.cost)
    assert answer.headers["x-consort-request-id"] in body["id"]


@pytest.mark.parametrize("model", ALL)
def test_a_stream_is_the_same_answer(client, model):
    whole = client.post("/v1/chat/completions", json=chat(model=model, temperature=0)).json()
    fields = chat(model=model, temperature=0, stream=True, stream_options={"include_usage": True})
    answer = client.post("/v1/chat/completions", json=fields)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, done = events(answer.text)
    assert done == "[DONE]" and len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1
    deltas = [c["choices"][0] for c in chunks[:-1]]
    assert deltas[0]["delta"]["role"] == "assistant"
    assert "".join(d["delta"].get("content", "") for d in deltas) == whole["choices"][0]["message"]["content"]
    assert [d["finish_reason"] for d in deltas] == [None] * (len(deltas) - 1) + [whole["choices"][0]["finish_reason"]]
    assert chunks[-1]["choices"] == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert chunks[-1]["usage"][name] == whole["usage"][name]


@pytest.mark.parametrize("model", ["letters", "average", "speculate"])
@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_are_those_of_the_distribution(client, served, model, stream):
    fields = {"model": model, "prompt": "abc", "max_tokens": 6, "temperature": 0, "logprobs": 3, "stream": stream}
    answer = client.post("/v1/completions", json=fields)
    bodies = events(answer.text)[:-1] if stream else [answer.json()]
    parts = [b["choices"][0]["logprobs"] for b in bodies if b["choices"] and b["choices"][0]["logprobs"]]
    values = [value for part in parts for value in part["token_logprobs"]]
    tops = [top for part in parts for top in part["top_logprobs"]]
    right = served[model].generate(["abc"], Sampling(max_tokens=6))[0]
    assert values == pytest.approx(right.details["logprobs"], abs=1e-4)
    assert all(value == max(top.values()) and len(top) == 3 for value, top in zip(values, tops, strict=True))


def test_chat_logprobs(client, served):
    body = client.post("/v1/chat/completions", json=chat(temperature=0, logprobs=True, top_logprobs=2)).json()
    content = body["choices"][0]["logprobs"]["content"]
    assert "".join(item["token"] for item in content).startswith(body["choices"][0]["message"]["content"])
    assert all(len(i["top_logprobs"]) == 2 and i["top_logprobs"][0]["logprob"] == i["logprob"] for i in content)


def test_echo_as_lm_eval_asks(client, served):
    model = served["letters"]
    lists = [model.tokenizer.encode(text) for text in ("ab cab", "c", "bad")]
    fields = {"model": "letters", "prompt": lists, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234}
    body = client.post("/v1/completions", json={**fields, "echo": True}).json()
    for tokens, right, choice in zip(lists, model.logprobs(lists), body["choices"], strict=True):
        told = choice["logprobs"]
        assert len(told["token_logprobs"]) == len(told["top_logprobs"]) == len(tokens) + 1
        assert told["token_logprobs"][0] is None and told["top_logprobs"][0] is None
        assert told["token_logprobs"][1:-1] == pytest.approx(right.tolist(), abs=1e-5)
        for value, top in zip(told["token_logprobs"][1:], told["top_logprobs"][1:], strict=True):
            assert value in top.values()
        assert told["text_offset"][1:] == [sum(map(len, told["tokens"][:i])) for i in range(1, len(tokens) + 1)]
    assert body["usage"] == {"prompt_tokens": 13, "completion_tokens": 3, "total_tokens": 16}


def test_echo_with_more_tokens(client):
    fields = {
        "model": "letters",
        "prompt": ["abc", "ca"],
        "max_tokens": 4,
        "temperature": 0,
        "logprobs": 0,
        "echo": True,
    }
    both = client.post("/v1/completions", json=fields).json()["choices"]
    plain = client.post("/v1/completions", json={**fields, "echo": False}).json()["choices"]
    for whole, rest, prompt in zip(both, plain, ("abc", "ca"), strict=True):
        assert whole["text"] == prompt + rest["text"]
        assert whole["logprobs"]["token_logprobs"][-4:] == pytest.approx(rest["logprobs"]["token_logprobs"], abs=1e-5)


def test_n_answers_differ_and_a_seed_repeats_them(client):
    fields = {"model": "letters", "prompt": ["abc", "ba"], "n": 3, "temperature": 1, "max_tokens": 6, "seed": 5}
    first, again = (client.post("/v1/completions", json=fields).json() for _ in range(2))
    texts = [choice["text"] for choice in first["choices"]]
    assert [choice["index"] for choice in first["choices"]] == list(range(6)) and len(set(texts)) > 3
    assert texts == [choice["text"] for choice in again["choices"]]
    assert first["usage"]["prompt_tokens"] == 4 + 3
    streamed = events(client.post("/v1/completions", json={**fields, "stream": True}).text)[:-1]
    for i, text in enumerate(texts):
        assert "".join(e["choices"][0]["text"] for e in streamed if e["choices"][0]["index"] == i) == text


def test_without_a_seed_answers_are_drawn_anew(client):
    fields = {"model": "letters", "prompt": "abc", "temperature": 1, "max_tokens": 12}
    assert len({client.post("/v1/completions", json=fields).json()["choices"][0]["text"] for _ in range(5)}) > 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_tokens": "abc"}, "max_tokens"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"n": 10**6}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 1e9}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 1000}, "top_logprobs"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"stop": ["a"] * 99}, "stop"),
        ({"base_url": "http://169.254.169.254"}, "base_url"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_schema", "schema": {"type": "nonsense"}}}, "response_format"),
        ({"stream_options": 3}, "stream_options"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(client, fields, param):
    import json

    body = json.dumps(chat(**fields))
    answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["type"] == "invalid_request_error"
    assert error["param"] == param, error


def test_unknown_fields_and_null_are_passed_over(client):
    assert client.post("/v1/chat/completions", json=chat(service_tier="auto", top_p=None, user="me")).status_code == 200


def test_beyond_the_window(client):
    answer = client.post("/v1/chat/completions", json=chat("ab" * 40, model="windowed"))
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "context_length_exceeded"


def test_models_and_thresholds(client):
    found = client.get("/v1/models").json()
    ids = [model["id"] for model in found["data"]]
    assert ids[:7] == ["letters", "average", "speculate", "cascade", "vote", "echo", "windowed"]
    assert {"letters-2", "sure", "strong", "first", "second", "third"} <= set(ids)
    assert client.get("/v1/models/average").json()["consort"]["members"] == ["letters-1", "letters-2"]
    assert client.get("/v1/models/nothing").status_code == 404
    easy = chat("x", model="cascade-0.99")
    answer = client.post("/v1/chat/completions", json=easy)
    assert answer.headers["x-consort-chosen"] == "strong" and answer.json()["consort"]["chosen"] == "strong"
    assert client.post("/v1/chat/completions", json=chat("x", model="cascade")).headers["x-consort-chosen"] == "sure"
    wrong = client.post("/v1/chat/completions", json=chat("x", model="cascade-1.5"))
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "model"
    unknown = client.post("/v1/chat/completions", json=chat(model="letterz")).json()["error"]
    assert unknown["code"] == "model_not_found" and "letters" in unknown["message"]


def test_tokens(client, served):
    tokens = served["letters"].tokenizer.encode("abc")
    assert client.post("/tokenize", json={"prompt": "abc"}).json()["tokens"] == tokens
    plain = client.post("/tokenize", json={"prompt": "abc", "add_special_tokens": False}).json()
    assert plain["tokens"] == tokens[1:] and plain["count"] == 3
    assert client.post("/detokenize", json={"tokens": tokens}).json() == {"prompt": "abc"}
    info = client.get("/tokenizer_info").json()
    assert info["eos_token"] == "<eos>" and info["bos_token"] == "<bos>"
    assert client.post("/detokenize", json={"tokens": [10**6]}).status_code == 400


def test_numbers_are_json(client):
    body = client.post(
        "/v1/completions", json={"model": "letters", "prompt": "a", "logit_bias": {"0": -1000}, "logprobs": 5}
    )
    assert "NaN" not in body.text and "Infinity" not in body.text
    assert all(math.isfinite(v) for v in body.json()["choices"][0]["logprobs"]["token_logprobs"])
