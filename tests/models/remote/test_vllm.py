"""Streams as vLLM writes them, good and broken, cut at any byte: read alone, and behind a consort server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure, UnknownName, Unsupported
from consort.core.types import Completion, Sampling
from consort.models import RemoteModel, Replicas
from tests.models.remote import misbehaving as m
from tests.models.remote import vllm_wire as v
from tests.models.remote.misbehaving import Misbehaving, Play

CHAT = ({"role": "user", "content": "hi"},)
SAID = ["Grüß", " dich", " 🙂", "."]
TEXT = "Grüß dich 🙂."
PLAIN = [v.delta(content=word) for word in SAID]
CALL = [
    v.delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]),
    v.delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city": "Zü'}}]),
    v.delta(
        tool_calls=[{"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]
    ),
    v.delta(tool_calls=[{"index": 0, "function": {"arguments": 'rich"}'}}]),
]
CALLED = [("f", '{"city": "Zürich"}'), ("g", "{}")]
PARTS = [
    v.delta(content="a", logprobs=v.told(("a", -0.5))),
    v.delta(content="", logprobs=v.told(("\ufffd", -0.25))),
    v.delta(content="🙂", logprobs=v.told(("\ufffd", -0.125))),
    v.delta(content="", logprobs=v.told(("", -0.125))),
]
OFFSETS = [(" one", v.offsets([(" one", -0.5)])), (" two", v.offsets([(" two", -0.25)], 4))]
THOUGHT = [v.delta(reasoning_content="hm", content=None), v.delta(reasoning_content="m"), *PLAIN]
NEWER = [v.delta(reasoning="hm"), v.delta(reasoning="m"), *PLAIN]
COUNTED = [v.line({**v.chunk(piece), "usage": v.USAGE | {"completion_tokens": i}}) for i, piece in enumerate(PLAIN)]
OFTEN = [v.line(v.ROLE), *COUNTED, v.line(v.chunk(v.delta(finish_reason="stop"))), v.line(v.USED), v.DONE]

GOOD: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "plain": (v.chat(*PLAIN), {}),
    "the-end-in-the-last-piece": (v.chat(*PLAIN, joined=True), {}),
    "stopped-by-a-token": (v.chat(*PLAIN, stop=128009), {}),
    "stopped-by-a-word": (v.chat(*PLAIN, stop="</s>"), {}),
    "length": (v.chat(*PLAIN, finish="length"), {"finish_reason": "length"}),
    "usage-in-every-piece": (OFTEN, {}),
    "empty-lists-of-calls": (v.chat(*[v.delta(content=word, tool_calls=[]) for word in SAID]), {}),
    "kept-alive": ([b": ping - 2026-01-01\n\n", *(part for e in v.chat(*PLAIN) for part in (e, b":\n\n"))], {}),
    "returns": ([event.replace(b"\n", b"\r\n") for event in v.chat(*PLAIN)], {}),
    "thought": (v.chat(*THOUGHT), {"details": {"reasoning": "hmm"}}),
    "thought-in-the-newer-name": (v.chat(*NEWER), {"details": {"reasoning": "hmm"}}),
    "only-thought": (v.chat(*THOUGHT[:2], finish="length"), {"text": "", "finish_reason": "reasoning"}),
    "calls": (v.chat(*CALL, finish="tool_calls"), {"text": "", "finish_reason": "tool_calls", "calls": CALLED}),
    "likelihoods": (v.chat(*PARTS), {"text": "a🙂", "logprob": -1.0}),
    "completion": (v.completion(OFFSETS), {"text": " one two", "finish_reason": "length", "logprob": -0.75}),
    "nothing-said": (v.chat(), {"text": ""}),
    "done-twice": ([*v.chat(*PLAIN), v.DONE], {}),
    "cut-after-the-end": (v.chat(*PLAIN)[:-2], {"usage": (0, 0)}),
}
BROKEN: dict[str, tuple[list[bytes], type[ConsortError], str]] = {
    "cut": (v.chat(*PLAIN)[:3], EnvironmentFailure, "breaks off"),
    "cut-in-a-character": ([v.chat(*PLAIN)[0], v.chat(*PLAIN)[1][:-30]], EnvironmentFailure, "not JSON|breaks off"),
    "error-in-the-middle": (
        [*v.chat(*PLAIN)[:3], v.line(v.error("Internal server error", "InternalServerError", 500)), v.DONE],
        EnvironmentFailure,
        "500: Internal server error",
    ),
    "error-at-once": (
        [v.line(v.error("EngineCore encountered an issue", "InternalServerError", 500)), v.DONE],
        EnvironmentFailure,
        "500: EngineCore",
    ),
    "error-in-the-older-form": (
        [*v.chat(*PLAIN)[:2], v.line({"error": v.error("oops", "BadRequestError", 400, older=True)}), v.DONE],
        BadParameter,
        "oops",
    ),
    "nothing-but-done": ([v.DONE], EnvironmentFailure, "no choice"),
    "given-up": (v.chat(*PLAIN[:2], finish="abort"), EnvironmentFailure, r"gives an answer up before its end \(abort"),
    "failed": (v.chat(*PLAIN[:2], finish="error"), EnvironmentFailure, "before its end"),
}


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with m.misbehaving({}) as running:
        yield running


def far(server: Misbehaving, play: Play, **options: Any) -> RemoteModel:
    server.plays["m"] = play
    return RemoteModel("m", server.url, **{"sleep": m.brief, "retries": 0, "timeout_s": 10, **options})


def read(model: Any, prompt: Any, way: str) -> tuple[str, Completion]:
    """The pieces together, and the completion."""
    if way == "awaited":

        async def ask() -> list[Any]:
            found = [piece async for piece in model.pieces(prompt)]
            await model.leave()
            return found

        *pieces, last = asyncio.run(ask())
        return "".join(pieces), last
    stream, told = model.stream(prompt), []
    while True:
        try:
            told.append(next(stream))
        except StopIteration as end:
            return "".join(told), end.value


WAYS = pytest.mark.parametrize("way", ["blocking", "awaited"])


@WAYS
@pytest.mark.parametrize("cut", [0, 1, 3])
@pytest.mark.parametrize("name", GOOD)
def test_streams_are_read_wherever_they_are_cut(server: Misbehaving, name: str, cut: int, way: str) -> None:
    events, wanted = GOOD[name]
    model = far(server, v.played(events, cut=cut))
    pieces, found = read(model, "hi" if name == "completion" else CHAT, way)
    model.transport.close()
    assert pieces == found.text == wanted.get("text", TEXT)
    assert found.finish_reason == wanted.get("finish_reason", "stop")
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == wanted.get("usage", (11, 4))
    assert found.logprob == wanted.get("logprob")
    assert {k: found.details.get(k) for k in wanted.get("details", {})} == wanted.get("details", {})
    calls = [(c["function"]["name"], c["function"]["arguments"]) for c in found.details.get("tool_calls", ())]
    assert calls == wanted.get("calls", [])
    assert model.speaker["model"] == "m"


@WAYS
@pytest.mark.parametrize("name", BROKEN)
def test_broken_streams_are_errors_and_never_answers(server: Misbehaving, name: str, way: str) -> None:
    events, kind, says = BROKEN[name]
    model = far(server, v.played(events))
    with pytest.raises(kind, match=says) as caught:
        read(model, CHAT, way)
    model.transport.close()
    assert caught.value.hint


@WAYS
@pytest.mark.parametrize("name", sorted(set(BROKEN) - {"error-in-the-older-form"}))
def test_what_one_engine_breaks_off_another_tells_on(server: Misbehaving, name: str, way: str) -> None:
    with m.misbehaving({"m": v.played(v.chat(*PLAIN))}) as other:
        server.plays["m"] = v.played(BROKEN[name][0])
        model = Replicas("m", [server.url, other.url], sleep=m.brief)
        pieces, found = read(model, CHAT, way)
        model.close()
    assert pieces == found.text == TEXT and found.finish_reason == "stop"


WHOLE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": (v.whole({"content": TEXT}), {"text": TEXT}),
    "thought": (v.whole({"content": TEXT, "reasoning_content": "hm"}), {"text": TEXT, "reasoning": "hm"}),
    "newer": (v.whole({"content": TEXT, "reasoning": "hm", "reasoning_content": None}), {"reasoning": "hm"}),
    "calls": (
        v.whole({"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
        {"text": "", "finish_reason": "tool_calls"},
    ),
    "likelihoods": (
        v.whole({"content": "a🙂"}, logprobs=v.told(("a", -0.5), ("\ufffd", -0.25), ("\ufffd", -0.25), ("", -1.0))),
        {"logprob": -2.0},
    ),
    "impossible": (v.whole({"content": "a"}, logprobs=v.told(("a", -9999.0))), {"logprob": None}),
    "token-ids": (v.whole({"content": "a"}, logprobs=v.told(("token_id:7", -1.0))), {"logprob": None}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_answers(server: Misbehaving, name: str) -> None:
    body, wanted = WHOLE[name]
    model = far(server, lambda ask: ask.reply(body))
    (found,) = model.generate([CHAT])
    model.transport.close()
    seen = {"text": found.text, "finish_reason": found.finish_reason, "logprob": found.logprob, **found.details}
    assert {key: seen[key] for key in wanted} == wanted


REFUSALS = {
    "window": (
        400,
        v.error("This model's maximum context length is 16 tokens.", "BadRequestError", 400),
        BadParameter,
        "maximum context length",
    ),
    "older": (400, v.error("too long", "BadRequestError", 400, older=True), BadParameter, "too long"),
    "name": (404, v.error("The model `m` does not exist.", "NotFoundError", 404), UnknownName, "does not exist"),
    "dead": (500, v.error("EngineCore encountered an issue", "InternalServerError", 500), EnvironmentFailure, "500"),
    "key": (401, {"error": "Unauthorized"}, EnvironmentFailure, "refuses the key"),
    "whole-abort": (200, v.whole({"content": "a"}, finish="abort"), EnvironmentFailure, "before its end"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(server: Misbehaving, name: str) -> None:
    status, body, kind, says = REFUSALS[name]
    model = far(server, lambda ask: ask.reply(body, status))
    with pytest.raises(kind, match=says):
        model.generate([CHAT])
    model.transport.close()


def test_given_texts_are_scored_by_what_is_echoed(server: Misbehaving) -> None:
    """With `echo` vLLM tells all tokens, the first without a likelihood, and one that it writes itself."""
    tokens = [("<s>", None), ("The", -3.0), (" sky", -2.0), (" is", -1.0), (" blue", -0.5), ("!", -4.0)]
    choice = {"index": 0, "text": "The sky is blue!", "logprobs": v.offsets(tokens), "finish_reason": "length"}
    model = far(server, lambda ask: ask.reply({"choices": [choice], "usage": v.USAGE}))
    assert model.score([("The sky", " is blue")]) == [-1.5]
    server.plays["m"] = lambda ask: ask.reply({"choices": [choice | {"logprobs": None}]})
    with pytest.raises(Unsupported):
        model.score([("The sky", " is blue")])
    model.transport.close()


@pytest.fixture(scope="module")
def front() -> Iterator[tuple[Misbehaving, str]]:
    """A consort server whose models `alone` and `fleet` are an upstream, the second with one that always answers."""
    from consort.server.run import Server

    with m.misbehaving({}) as upstream, m.misbehaving({"m": v.played(v.chat(*PLAIN))}) as other:
        alone = RemoteModel("m", upstream.url, sleep=m.brief, retries=0, timeout_s=10)
        fleet = Replicas("m", [upstream.url, other.url], sleep=m.brief, patience=10**6, timeout_s=10)
        with Server(models={"alone": alone, "fleet": fleet}, port=0) as running:
            yield upstream, running.url
        alone.transport.close()
        fleet.close()


def through(url: str, model: str, **fields: Any) -> tuple[int, str]:
    body = {"model": model, "messages": list(CHAT), "stream": True, "stream_options": {"include_usage": True}}
    answer = httpx.post(f"{url}/v1/chat/completions", json={**body, **fields}, timeout=20)
    return answer.status_code, answer.text


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def content(chunks: list[Any]) -> str:
    choices = [c["choices"][0] for c in chunks if isinstance(c, dict) and c.get("choices")]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize("cut", [0, 1])
@pytest.mark.parametrize(
    "name", ["plain", "the-end-in-the-last-piece", "usage-in-every-piece", "kept-alive", "thought"]
)
def test_streams_go_through_a_server(front: tuple[Misbehaving, str], name: str, cut: int) -> None:
    upstream, url = front
    upstream.plays["m"] = v.played(GOOD[name][0], cut=cut)
    for model in ("alone", "fleet"):
        status, text = through(url, model)
        found = events(text)
        assert status == 200 and content(found) == TEXT and found[-1] == "[DONE]"
        ends = [c["choices"][0]["finish_reason"] for c in found[:-1] if c["choices"]]
        assert [end for end in ends if end] == ["stop"]
        usage = next(c["usage"] for c in reversed(found[:-1]) if c.get("usage"))
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 4)


def test_calls_go_through_a_server(front: tuple[Misbehaving, str]) -> None:
    upstream, url = front
    upstream.plays["m"] = v.played(GOOD["calls"][0], cut=1)
    tools = [{"type": "function", "function": {"name": n, "parameters": {"type": "object"}}} for n in ("f", "g")]
    _, text = through(url, "alone", tools=tools)
    calls: dict[int, list[str]] = {}
    for one in events(text)[:-1]:
        for call in (one["choices"][0]["delta"].get("tool_calls") or []) if one["choices"] else []:
            parts = calls.setdefault(call["index"], ["", ""])
            parts[0] += call["function"].get("name") or ""
            parts[1] += call["function"].get("arguments") or ""
    assert [(name, json.loads(told)) for name, told in calls.values()] == [(n, json.loads(a)) for n, a in CALLED]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_streams_through_a_server(front: tuple[Misbehaving, str], name: str) -> None:
    """Alone the client is told of an error; of a fleet it sees the whole answer."""
    upstream, url = front
    upstream.plays["m"] = v.played(BROKEN[name][0])
    status, text = through(url, "alone")
    told = [e for e in events(text) if isinstance(e, dict) and "error" in e] if status == 200 else [json.loads(text)]
    assert told and told[0]["error"]["message"] and (status == 200 or status >= 400)
    assert not any(
        e["choices"][0].get("finish_reason") for e in events(text) if isinstance(e, dict) and e.get("choices")
    )
    status, text = through(url, "fleet")
    if name == "error-in-the-older-form":
        assert "oops" in text
    else:
        assert status == 200 and content(events(text)) == TEXT and "error" not in text
    upstream.plays["m"] = v.played(v.chat(*PLAIN))
    assert content(events(through(url, "alone")[1])) == TEXT


def test_seeds_and_settings_are_sent_by_the_names_of_vllm(server: Misbehaving) -> None:
    seen: list[dict[str, Any]] = []

    def play(ask: m.Ask) -> None:
        seen.append(ask.body)
        ask.reply(v.whole({"content": "a"}))

    model = far(server, play)
    model.generate([CHAT], Sampling(temperature=0.5, top_k=3, min_p=0.1, repetition_penalty=1.1, seed=4))
    model.transport.close()
    assert {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1, "seed": 4}.items() <= seen[0].items()
