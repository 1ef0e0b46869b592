"""Remote models against a small server on the loopback interface, which can be told to fail in every usual way."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure, UnknownName, Unsupported
from consort.core.types import Message, Sampling
from consort.models import LanguageModel, RemoteModel, remote_model

CHAT: list[Message] = [{"role": "user", "content": "hi"}]
GOOD = {
    "choices": [{"index": 0, "text": " two", "finish_reason": "length", "logprobs": {"token_logprobs": [-0.5, -0.25]}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
TALK = {
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello"},
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "hello", "logprob": -0.5, "top_logprobs": []}]},
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
Reply = tuple[int, dict[str, str], Any]


class Server:
    """Answers by a script: the last reply is given again when the script is over."""

    def __init__(self) -> None:
        self.script: list[Reply | str] = []
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.free = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.seen.append((self.path, body, {k.lower(): v for k, v in self.headers.items()}))
                reply = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                if reply == "hang":
                    outer.free.wait(20)
                    return
                assert not isinstance(reply, str)
                status, headers, content = reply
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(raw)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.free.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def remote(server: Server, waits: list[float]) -> Iterator[Callable[..., RemoteModel]]:
    made: list[RemoteModel] = []

    def make(**options: Any) -> RemoteModel:
        made.append(RemoteModel("tiny", server.url, sleep=waits.append, **options))
        return made[-1]

    yield make
    for model in made:
        model.transport.close()


def test_completions_and_chats(server: Server, remote: Any) -> None:
    model = remote()
    assert isinstance(model, LanguageModel)
    server.script = [(200, {}, GOOD), (200, {}, TALK)]
    sampling = Sampling(max_tokens=2, temperature=0.5, top_p=0.9, stop=("x",), logit_bias=((7, -1.0),), seed=3)
    (answer,) = model.generate(["one"], sampling)
    assert (answer.text, answer.finish_reason, answer.logprob) == (" two", "length", -0.75)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, list(answer.cost)) == (3, 2, ["tiny"])
    (answer,) = model.generate([CHAT])
    assert (answer.text, answer.finish_reason, answer.logprob) == ("hello", "stop", -0.5)
    (path, body, headers), (chat_path, chat, _) = server.seen
    assert (path, chat_path) == ("/v1/completions", "/v1/chat/completions")
    wanted = {"model": "tiny", "prompt": "one", "max_tokens": 2, "temperature": 0.5, "top_p": 0.9, "stop": ["x"]}
    assert body == {**wanted, "logit_bias": {"7": -1.0}, "seed": 3, "logprobs": 1}
    assert chat["messages"] == CHAT
    assert "top_p" not in chat
    assert "authorization" not in headers


def test_many_prompts_keep_their_order_and_seeds(server: Server, remote: Any) -> None:
    server.script = [(200, {}, GOOD)]
    assert len(remote(concurrency=3).generate([str(i) for i in range(9)], Sampling(seeds=tuple(range(9))))) == 9
    assert {body["prompt"]: body["seed"] for _, body, _ in server.seen} == {str(i): i for i in range(9)}
    with pytest.raises(BadParameter, match="1 seeds for 2 prompts"):
        remote().generate(["a", "b"], Sampling(seeds=(1,)))


def test_a_string_is_a_users_turn_where_there_are_no_completions(server: Server, remote: Any) -> None:
    server.script = [(404, {}, b"nothing here"), (200, {}, TALK)]
    model = remote()
    assert model.generate(["hi"])[0].text == "hello"
    assert model.generate(["hi"])[0].text == "hello"
    assert [path for path, _, _ in server.seen] == ["/v1/completions", *["/v1/chat/completions"] * 2]
    assert server.seen[-1][1]["messages"] == [{"role": "user", "content": "hi"}]


def test_without_logprobs_an_answer_has_none(server: Server, remote: Any) -> None:
    server.script = [(200, {}, {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": None}]})]
    model = remote()
    assert model.generate(["x"])[0].logprob is None
    assert model.gives_logprob
    with pytest.raises(Unsupported, match="does not tell log-probabilities"):
        model.score([("a", "b")])


def test_scores_are_of_the_echoed_continuation(server: Server, remote: Any) -> None:
    logprobs = {"token_logprobs": [None, -1.0, -2.0, -4.0], "text_offset": [0, 2, 3, 5]}
    server.script = [(200, {}, {"choices": [{"text": "abcdeZ", "logprobs": logprobs}]})]
    assert remote().score([("ab", "cde")]) == [-3.0]
    assert server.seen[0][1]["echo"] is True


@pytest.mark.parametrize(
    ("fault", "pause"),
    [
        ((429, {"retry-after": "7"}, {"error": {"message": "slow down"}}), 7.0),
        ((429, {}, {"error": {"message": "slow down"}}), 0.5),
        ((500, {}, {"error": {"message": "oops"}}), 0.5),
        ((503, {"retry-after": "soon"}, b""), 0.5),
        ((200, {}, b"<html>a gateway</html>"), 0.5),
        ((200, {}, b'{"choices": [{"text": NaN}]}'), 0.5),
        ((200, {}, {"choices": []}), 0.5),
        ((200, {}, {"choices": [{"text": 3}]}), 0.5),
        ((200, {"content-length": "999"}, b'{"choices"'), 0.5),
    ],
)
def test_what_may_pass_is_tried_again(
    server: Server, remote: Any, waits: list[float], fault: Any, pause: float
) -> None:
    if fault[1].get("content-length"):
        fault[1]["connection"] = "close"
    server.script = [fault, (200, {}, GOOD)]
    assert remote(timeout_s=20 if pause > 5 else 5).generate(["x"])[0].text == " two"
    assert waits == [pause]


def test_a_retry_that_would_come_too_late_is_not_made(server: Server, remote: Any, waits: list[float]) -> None:
    server.script = [(429, {"retry-after": "3600"}, {"error": {"message": "tomorrow"}})]
    with pytest.raises(EnvironmentFailure, match="429: tomorrow"):
        remote().generate(["x"])
    assert waits == []


def test_retries_come_to_an_end(server: Server, remote: Any, waits: list[float]) -> None:
    server.script = [(500, {}, {"error": {"message": "oops"}})]
    with pytest.raises(EnvironmentFailure, match="500: oops"):
        remote().generate(["x"])
    assert waits == [0.5, 1.0]


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        ((400, {}, {"error": {"message": "too long", "code": "x"}}), BadParameter, r"\(400\): too long"),
        ((401, {}, {"error": {"message": "no"}}), EnvironmentFailure, "refuses the key"),
        ((404, {}, {"error": {"message": "no tiny", "code": "model_not_found"}}), UnknownName, "no tiny"),
        ((302, {"location": "http://169.254.169.254/"}, b""), EnvironmentFailure, "redirect"),
        ((500, {"x-should-retry": "false"}, {"error": {"message": "for good"}}), EnvironmentFailure, "for good"),
    ],
)
def test_what_cannot_pass_is_said_at_once(server: Server, remote: Any, reply: Any, error: Any, says: str) -> None:
    server.script = [reply]
    with pytest.raises(error, match=says):
        remote().generate(["x"])
    assert len(server.seen) == 1


def test_a_hanging_endpoint_is_given_up(server: Server, remote: Any) -> None:
    server.script = ["hang"]
    with pytest.raises(EnvironmentFailure, match=r"has not answered within 0\.3 s"):
        remote(timeout_s=0.3).generate(["x"])
    with pytest.raises(EnvironmentFailure, match="cannot be reached"):
        RemoteModel("tiny", "http://127.0.0.1:9/v1", retries=0).generate(["x"])


def test_a_failing_endpoint_is_left_alone_for_a_while(server: Server, remote: Any) -> None:
    server.script = [(500, {}, {"error": {"message": "oops"}})]
    model, now = remote(retries=0, patience=2, cooldown_s=10), [100.0]
    model.transport.clock = lambda: now[0]
    for _ in range(2):
        with pytest.raises(EnvironmentFailure, match="500"):
            model.generate(["x"])
    with pytest.raises(EnvironmentFailure, match="2 times in a row and is left alone for 10 s"):
        model.generate(["x"])
    assert len(server.seen) == 2
    now[0], server.script = 111.0, [(200, {}, GOOD)]
    assert model.generate(["x"])[0].text == " two"


def events(*items: Any) -> bytes:
    return b"".join(b"data: " + (i if isinstance(i, bytes) else json.dumps(i).encode()) + b"\n\n" for i in items)


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def test_streams(server: Server, remote: Any) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}
    server.script = [(200, {}, events(piece("hé"), piece("llo"), piece("", "length"), usage, b"[DONE]"))]
    stream, got = remote().stream(CHAT), []
    while True:
        try:
            got.append(next(stream))
        except StopIteration as end:
            answer = end.value
            break
    assert got == ["hé", "llo"]
    assert (answer.text, answer.finish_reason, answer.usage.prompt_tokens) == ("héllo", "length", 4)
    assert list(remote().stream(CHAT, cancel=lambda: True)) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (events(piece("a")), "breaks off"),
        (events(piece("a"), b'{"cho'), "not JSON"),
        (events(piece("a"), b'"\xff"'), "not JSON|event is not"),
        (events(piece("a"), {"error": {"message": "gone"}}), "gone"),
        (b"<html></html>", "breaks off"),
    ],
)
def test_a_stream_that_is_broken_is_an_error(server: Server, remote: Any, content: bytes, says: str) -> None:
    server.script = [(200, {}, content)]
    stream = remote().stream(CHAT)
    with pytest.raises(EnvironmentFailure, match=says):
        list(stream)


def test_the_key_is_sent_and_never_shown(
    server: Server, remote: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CONSORT_API_KEY", "sk-CANARY123")
    server.script = [(200, {}, GOOD), (400, {}, {"error": {"message": "bad key sk-CANARY123"}})]
    model = remote()
    model.generate(["x"])
    with pytest.raises(ConsortError) as caught:
        model.generate(["x"])
    assert server.seen[0][2]["authorization"] == "Bearer sk-CANARY123"
    shown = [str(caught.value), repr(caught.value), repr(vars(model)), repr(vars(model.transport)), caplog.text]
    assert "CANARY" not in "".join(shown)
    with pytest.raises(BadParameter, match="plain http"):
        RemoteModel("tiny", "http://example.org/v1").generate(["x"])


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "file:///etc/passwd", "http://u:p@x/v1", "http://x/v1?k=1", "http://169.254.169.254/", "x"]
)
def test_urls_that_are_no_endpoints(url: str) -> None:
    with pytest.raises(BadParameter, match="base_url"):
        RemoteModel("m", url)


def test_plans_name_remote_models() -> None:
    from consort.plan.build import build
    from consort.plan.expression import parse
    from consort.plan.objects import to_plan

    reference = "openai:org/tiny@http://127.0.0.1:9/v1"
    model = build(parse(reference))
    assert (model.name, model.base_url) == ("org/tiny", "http://127.0.0.1:9/v1")
    assert to_plan(model) == reference
    with pytest.raises(Unsupported, match="no weights"):
        build(parse(reference), "checkpoint")
    with pytest.raises(BadParameter, match="names no endpoint"):
        remote_model("openai:tiny")
