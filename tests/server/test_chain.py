"""consort in front of consort, and a mock of an endpoint that misbehaves: what goes through, what is dropped."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

import consort as c
from consort.core.types import Chat, Grammar, Sampling
from consort.models.fake import FakeModel
from consort.models.remote.model import RemoteModel
from consort.server.run import Server
from tests.server.conftest import chat, events

QUICK = {"retries": 0, "timeout_s": 5.0}


@pytest.fixture(scope="module")
def outer(server):
    """A server whose models are those of another server."""

    def far(name):
        return RemoteModel(name, f"{server.url}/v1", **QUICK)

    inner = {name: far(name) for name in ("letters", "average", "speculate", "echo", "cascade")}
    team = c.vote([far("echo"), far("echo"), FakeModel(lambda text: "no", name="dissenter")])
    with Server(models={**inner, "team": team}, port=0) as running:
        yield running


@pytest.mark.parametrize("model", ["letters", "average", "speculate", "echo", "cascade"])
@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_text_through_a_chain_are_the_direct_ones(server, outer, model, stream):
    fields = chat(model=model, temperature=0.8, seed=4, stream=stream, stream_options={"include_usage": True})

    def seen(url):
        answer = httpx.post(f"{url}/v1/chat/completions", json=fields, timeout=30)
        assert answer.status_code == 200, answer.text
        if not stream:
            body = answer.json()
            return body["choices"][0]["message"]["content"], body["choices"][0]["finish_reason"], counts(body["usage"])
        chunks = events(answer.text)[:-1]
        choices = [c["choices"][0] for c in chunks if c["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        return text, choices[-1]["finish_reason"], counts(chunks[-1]["usage"])

    def counts(usage):
        return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]

    assert seen(server.url) == seen(outer.url)


def test_a_served_strategy_as_a_member_equals_the_local_one(server, served):
    far = RemoteModel("average", f"{server.url}/v1", **QUICK)
    sampling = Sampling(max_tokens=8, temperature=0.7, seed=2, stop=("zz",))
    for prompt in ("abc", ({"role": "user", "content": "abc"},)):
        (there,), (here,) = far.generate([prompt], sampling), served["average"].generate([prompt], sampling)
        assert there.text == here.text and there.finish_reason == here.finish_reason
        assert there.logprob == pytest.approx(here.logprob, abs=1e-4)
        assert there.usage.total_tokens == here.usage.total_tokens
    pairs = [("abc", " cab"), ("d ", "a")]
    assert far.score(pairs) == pytest.approx(served["average"].score(pairs), abs=1e-4)


def test_grammars_and_tools_go_through(server):
    far = RemoteModel("average", f"{server.url}/v1", **QUICK)
    for grammar, wanted in (
        (Grammar("choice", '["yes", "no"]'), ("yes", "no")),
        (Grammar("regex", "[01]{2}"), ("00", "01", "10", "11")),
        (Grammar("json_schema", '{"enum": ["a"]}'), ('"a"',)),
    ):
        (answer,) = far.generate(["abc"], Sampling(max_tokens=20, grammar=grammar))
        assert answer.text in wanted
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    prompt = Chat([{"role": "user", "content": "abc"}], [tool])
    assert far.generate([prompt], Sampling(max_tokens=3))[0].usage.prompt_tokens > 60


def test_logprobs_go_through(outer, server):
    fields = chat(model="average", temperature=0, logprobs=True)
    there, here = (httpx.post(f"{s.url}/v1/chat/completions", json=fields).json() for s in (outer, server))

    def told(body):
        return [(item["token"], item["logprob"]) for item in body["choices"][0]["logprobs"]["content"]]

    assert told(there) == told(here)


def test_a_team_of_endpoints(outer):
    body = httpx.post(f"{outer.url}/v1/chat/completions", json=chat(model="team")).json()
    assert body["choices"][0]["message"]["content"] == "abc" and body["consort"]["dropped"] == {}
    assert set(body["consort"]["cost"]) == {"echo", "echo#2", "dissenter"}


class Endpoint:
    """An endpoint that answers every chat by `behave(handler)`."""

    def __init__(self, behave):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                behave(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def sends(status, body, **headers):
    def behave(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def piece(text, finish=None):
    return (
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}).encode()
    )


BROKEN = {
    "html": sends(200, b"<html>hello</html>", content_type="text/html"),
    "bad json": sends(200, b'{"choices": [', content_type="application/json"),
    "500": sends(500, b"oh", content_type="text/plain"),
    "429": sends(429, b"slow down"),
    "invalid utf-8": sends(200, b"data: \xff\xfe\n\n", content_type="text/event-stream"),
    "truncated": sends(200, piece("ab") + b"\n\n", content_type="text/event-stream"),
    "redirect": sends(302, b"", location="http://169.254.169.254/"),
}


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_49_an_endpoint_that_misbehaves(kind):
    with Endpoint(BROKEN[kind]) as url:
        bad = RemoteModel("bad", url, retries=0, timeout_s=1.5)
        good = [FakeModel(lambda text: "yes", name=name) for name in ("a", "b")]
        with Server(models={"bad": bad, "vote": c.vote([good[0], bad, good[1]])}, port=0, deadline_s=4) as running:
            for stream in (False, True):
                alone = httpx.post(
                    f"{running.url}/v1/chat/completions", json=chat(model="bad", stream=stream), timeout=10
                )
                if stream and kind == "truncated":
                    assert alone.status_code == 200 and "error" in events(alone.text)[-1]
                else:
                    assert alone.status_code in (502, 503, 504), alone.text
            answer = httpx.post(f"{running.url}/v1/chat/completions", json=chat(model="vote"), timeout=10)
            assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"] == "yes"
            assert list(answer.json()["consort"]["dropped"]) == ["bad"]


def test_49_a_stream_that_says_done_twice():
    body = piece("ab") + b"\n\n" + piece("", "stop") + b"\n\ndata: [DONE]\n\ndata: [DONE]\n\n"
    with Endpoint(sends(200, body, content_type="text/event-stream")) as url:
        far = RemoteModel("far", url, **QUICK)
        with Server(models={"far": far}, port=0) as running:
            answer = httpx.post(f"{running.url}/v1/chat/completions", json=chat(model="far", stream=True))
            *chunks, done = events(answer.text)
            assert done == "[DONE]" and chunks[-1]["choices"][0]["finish_reason"] == "stop"
            assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "ab"
