"""What a misbehaving endpoint comes to: right, in time, and without showing the key."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure, UnknownName, Unsupported
from consort.core.types import Completion, Sampling
from consort.models.remote.model import RemoteModel
from tests.models.remote import misbehaving as m
from tests.models.remote.misbehaving import KEY, LOGPROB, TEXT, answer, choice, echo, event, piece, streamed

FIVE = " a b c d e"
TALK = {"role": "assistant"}
TIMEOUT_S = 0.6


@dataclass
class Case:
    """How an endpoint plays, what is asked of it, and what comes: a text (or a number), or an error with its words."""

    play: m.Play
    gives: Any = None
    error: type[ConsortError] = EnvironmentFailure
    says: str = ""
    finish: str = "stop"
    logprob: float | None = None
    ask: str = "generate"
    requests: int | None = None


def chat(**message: Any) -> m.Play:
    """A chat's answer with this message, whatever path was asked."""
    told = message.pop("logprobs", None)
    finish = message.pop("finish_reason", "stop")
    said = {"index": 0, "message": {**TALK, **message}, "finish_reason": finish, "logprobs": told}
    return lambda ask: ask.reply(answer(said)) if ask.is_chat else ask.reply(b"", 404)


def told(text: str, values: list[Any], tokens: list[str] | None = None, count: int | None = None) -> m.Play:
    found = {"token_logprobs": values} | ({"tokens": tokens} if tokens else {})
    usage = {} if count is None else {"usage": {"prompt_tokens": 1, "completion_tokens": count}}
    return lambda ask: ask.reply(answer(choice(text, logprobs=found), **usage))


def error(status: int, message: str, **more: Any) -> m.Play:
    headers = more.pop("headers", None)
    return lambda ask: ask.error(status, message, headers, **more)


def raw(data: bytes) -> m.Play:
    return lambda ask: ask.send(data)


def body(content: Any, **more: Any) -> m.Play:
    return lambda ask: ask.reply(content, **more)


def flow(*items: Any) -> m.Play:
    return lambda ask: streamed(ask, list(items))


def late(text: str) -> str:
    """An error that a cut at its 300th character would end within the key."""
    return "x" * (300 - len(text) // 2) + text


CASES = {
    "hangs": Case(m.hang, says="has not answered within"),
    "headers-drip": Case(m.headers_that_drip, says="has not answered within"),
    "body-drips": Case(m.body_that_drips, says="has not answered within"),
    "closes-at-once": Case(lambda ask: None, says="cannot be reached"),
    "no-http": Case(raw(b"SSH-2.0-x\r\n\r\n"), says="cannot be reached"),
    "body-breaks-off": Case(body(b"{", headers={"content-length": "999"}), says="cannot be reached", requests=3),
    "two-lengths": Case(raw(b"HTTP/1.1 200 X\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}"), says="reached"),
    "html": Case(body(b"<html>a gateway</html>"), says="not JSON"),
    "nested": Case(body(b"[" * 200000), says="not JSON"),
    "no-utf8": Case(body(b'{"choices": "\xff"}'), says="not JSON"),
    "nan-text": Case(body(b'{"choices": [{"text": NaN}]}'), says="text is not a str"),
    "no-choices": Case(body({"choices": []}), says="without a choice"),
    "null-choices": Case(body({"choices": None}), says="without a choice"),
    "only-the-second-choice": Case(body(answer(choice(index=1))), says="without a choice"),
    "choices-out-of-order": Case(body(answer(choice("b", index=1), choice(index=0))), TEXT, logprob=LOGPROB),
    "number-for-text": Case(body(answer(choice(3, logprobs=None))), says="text is not a str"),
    "list-for-answer": Case(body([1]), says="answer is not a dict"),
    "huge": Case(m.huge, says="more than 67108864 bytes"),
    "gzip-bomb": Case(m.gzip_bomb, says="more than 67108864 bytes"),
    "no-gzip": Case(body(b"{}", headers={"content-encoding": "gzip"}), says="DecodingError"),
    "no-content": Case(raw(b"HTTP/1.1 204 X\r\n\r\n"), says="status 204"),
    "E3-empty-logprobs": Case(chat(content=FIVE, logprobs={"content": []}), FIVE),
    "E3-one-for-five-words": Case(told(FIVE, [-0.1], count=5), FIVE),
    "E3-above-one": Case(told(TEXT, [5.0, -1.0], [" one", " two"]), TEXT),
    "E3-not-a-number": Case(body(b'{"choices": [{"text": "a", "logprobs": {"token_logprobs": [NaN]}}]}'), "a"),
    "E3-of-another-text": Case(told(TEXT, [-1.0, -1.0], ["x", "y"]), TEXT),
    "E3-one-missing": Case(told(TEXT, [None, -1.0], [" one", " two"]), TEXT),
    "E3-not-told": Case(told(TEXT, [-0.5, -9999.0], [" one", " two"]), TEXT),
    "E3-counted": Case(told(TEXT, [-1.0, -1.0], count=2), TEXT, logprob=-2.0),
    "E4-content-filter": Case(body(answer(choice("", finish_reason="content_filter"))), "", finish="content_filter"),
    "E4-tools": Case(chat(content=None, tool_calls=[{"id": "1"}], finish_reason="tool_calls"), "", finish="tool_calls"),
    "E4-tools-unsaid": Case(chat(content=None, tool_calls=[{"id": "1"}]), "", finish="tool_calls"),
    "E4-refusal": Case(chat(content=None, refusal="no"), "", finish="refusal"),
    "E4-reasoning": Case(chat(content="", reasoning_content="hm", finish_reason="length"), "", finish="reasoning"),
    "E4-window": Case(body(answer(choice("a", finish_reason="model_length"))), "a", finish="length"),
    "E4-no-word": Case(body(answer(choice("a", finish_reason=7))), "a", finish="unknown"),
    "E7-busy": Case(m.after(6, error(429, "slow", headers={"retry-after-ms": "5"})), TEXT, logprob=LOGPROB),
    "E7-busy-for-ever": Case(error(429, "slow"), says="429: slow"),
    "E7-wait-of-nothing": Case(error(429, "slow", headers={"retry-after": "0"}), says="429: slow"),
    "E7-wait-till-tomorrow": Case(error(429, "slow", headers={"retry-after": "86400"}), says="slow", requests=1),
    "E7-quota": Case(error(429, "no money", code="insufficient_quota"), says="no money", requests=1),
    "fails-twice": Case(m.after(2, error(500, "oops")), TEXT, logprob=LOGPROB),
    "fails": Case(error(500, "oops"), says="500: oops", requests=3),
    "gateway": Case(body(b"<h1>bad</h1>", status=502), says="502: <h1>bad", requests=3),
    "redirects": Case(body(b"", status=302, headers={"location": "http://169.254.169.254/"}), says="redirect"),
    "E8-key": Case(error(401, f"bad {KEY}"), says=r"bad \[key\]", requests=1),
    "E8-key-cut": Case(error(400, late(KEY)), error=BadParameter, says=r"\[key\]"),
    "E8-part-of-the-key": Case(error(400, "bad " + KEY[:12]), error=BadParameter, says=r"bad \[key\]"),
    "E8-key-in-headers": Case(body(b"", status=500, headers={"x-e": KEY}, reason=KEY), says="no reason"),
    "E8-key-in-text": Case(body(answer(choice(f"a {KEY}"))), "a [key]"),
    "E8-key-as-detail": Case(body({"detail": KEY}, status=400), error=BadParameter, says=r"\[key\]"),
    "E13-error-of-200": Case(
        body({"error": {"message": "too long", "type": "invalid_request_error"}}),
        error=BadParameter,
        says="too long",
        requests=1,
    ),
    "E13-older-form": Case(
        body({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}),
        error=BadParameter,
        says="too long",
        requests=1,
    ),
    "E13-older-form-in-a-stream": Case(
        flow({"object": "error", "message": "overloaded", "code": 503}, "[DONE]"), says="503: overloaded", ask="stream"
    ),
    "E10-nothing": Case(flow({"choices": []}, "[DONE]"), says="no choice", ask="stream"),
    "E13-unknown-name": Case(
        m.unless("max_tokens", error(400, "Unrecognized request argument supplied: max_tokens")), TEXT, logprob=LOGPROB
    ),
    "E13-too-many": Case(
        m.unless("max_tokens", error(400, "max_tokens is too large: 9", param="max_tokens")),
        error=BadParameter,
        says="too large",
        requests=1,
    ),
    "E13-text-of-200": Case(body({"error": "no more"}), says="no more", requests=1),
    "E13-busy-of-200": Case(m.after(3, body({"error": {"message": "slow", "code": 429}})), TEXT, logprob=LOGPROB),
    "E13-newer-name": Case(
        m.unless("max_tokens", error(400, "Use 'max_completion_tokens' instead.", param="max_tokens")),
        TEXT,
        logprob=LOGPROB,
    ),
    "E13-no-logprobs": Case(m.unless("logprobs", error(400, "logprobs are not supported")), TEXT, logprob=LOGPROB),
    "E13-no-seed": Case(m.unless("seed", error(400, "bad", param="seed")), TEXT, logprob=LOGPROB),
    "E13-detail": Case(
        m.unless("seed", body({"detail": [{"loc": ["body", "seed"], "msg": "extra"}]}, status=422)),
        TEXT,
        logprob=LOGPROB,
    ),
    "E13-two-refused": Case(
        m.unless("seed", error(400, "no seed"), m.unless("logprobs", error(400, "no logprobs"))), TEXT, logprob=LOGPROB
    ),
    "refuses": Case(error(400, "too hot"), error=BadParameter, says="too hot", requests=1),
    "no-completions": Case(m.without_completions(404), TEXT),
    "no-such-method": Case(m.without_completions(405), TEXT),
    "unknown-model": Case(error(404, "no m", code="model_not_found"), error=UnknownName, says="no m", requests=1),
    "E10-u2028": Case(flow(piece("a\u2028b\u0085c"), piece("", "stop"), "[DONE]"), "a\u2028b\u0085c", ask="stream"),
    "E10-unknown": Case(
        flow({"type": "ping"}, b": hm\n\n", b"event: x\nid: 7\n\n", piece(" one"), b"data:\n\n", piece(" two", "stop")),
        TEXT,
        ask="stream",
    ),
    "E10-usage": Case(flow(piece(TEXT, "stop"), {"usage": m.USAGE}, {"choices": None}, "[DONE]"), TEXT, ask="stream"),
    "E10-null-error": Case(flow(piece(TEXT, "stop", error=None), "[DONE]"), TEXT, ask="stream"),
    "E10-returns": Case(
        flow(event(piece(" one")).replace(b"\n", b"\r"), event(piece(" two", "stop")).replace(b"\n", b"\r\n")),
        TEXT,
        ask="stream",
    ),
    "E10-two-lines": Case(
        flow(b'\xef\xbb\xbfdata:{"choices":\ndata:[{"text": " one two",\ndata:"finish_reason": "stop"}]}\n\n'),
        TEXT,
        ask="stream",
    ),
    "E10-no-blank-lines": Case(
        flow(event(piece(" one"))[:-1], event(piece(" two", "stop"))[:-1], b"data: [DONE]\n"), TEXT, ask="stream"
    ),
    "E6-second-choice": Case(flow(piece(" one"), piece("x", index=1), piece(" two", "stop")), TEXT, ask="stream"),
    "E8-key-escaped": Case(body(json.dumps(answer(choice(f"a {KEY}"))).replace("-", "\\u002d").encode()), "a [key]"),
    "E8-key-in-pieces": Case(
        flow(piece("a sk"), piece(KEY[2:9]), piece(KEY[9:] + " s", "stop"), "[DONE]"), "a [key] s", ask="stream"
    ),
    "E8-key-begun": Case(flow(piece("a sk"), piece("-C", "stop"), "[DONE]"), "a sk-C", ask="stream"),
    "E9-keep-alive": Case(m.keeps_alive(), says="has not answered within", ask="stream"),
    "E9-keep-alive-mid": Case(m.keeps_alive(piece("a")), says="has not answered within", ask="stream"),
    "E9-keep-alive-at-the-end": Case(m.keeps_alive(piece(TEXT, "stop")), TEXT, ask="stream"),
    "E9-endless": Case(m.endless, says="has not answered within", ask="stream"),
    "E9-stream-headers-drip": Case(m.headers_that_drip, says="has not answered within", ask="stream"),
    "E11-long-line": Case(m.long_line, says="more than 16777216 bytes", ask="stream"),
    "E11-busy": Case(m.after(4, error(429, "slow", headers={"retry-after": "0"})), TEXT, ask="stream"),
    "E11-fails-twice": Case(m.after(2, error(503, "oops")), TEXT, ask="stream"),
    "E11-breaks-twice": Case(m.after(2, flow()), TEXT, ask="stream"),
    "E11-no-completions": Case(m.without_completions(404), TEXT, ask="stream"),
    "E11-no-options": Case(m.unless("stream_options", error(400, "unknown field stream_options")), TEXT, ask="stream"),
    "E11-plain-answer": Case(
        lambda ask: ask.reply(answer(choice()), headers={"content-type": "application/json"}),
        TEXT,
        ask="stream",
        logprob=LOGPROB,
    ),
    "breaks-off": Case(flow(piece("a")), says="breaks off", ask="stream", requests=1),
    "E8-key-in-stream": Case(
        flow(piece("a"), {"error": {"message": "no " + KEY}}), says=r"no \[key\]", ask="stream", requests=1
    ),
    "E8-key-cut-in-stream": Case(
        flow(piece("a"), {"error": {"message": late(KEY)}}), says=r"answers with an error: x+", ask="stream"
    ),
    "filtered-stream": Case(flow(piece(TEXT, "content_filter")), TEXT, ask="stream", finish="content_filter"),
    "E1-spaces": Case(echo(["The", " cat", " sat", "."], [None, -1.0, -4.0, -8.0]), -4.0, ask="score"),
    "E1-across": Case(
        echo(["The", " ca", "t ", "sat", "."], [None, -1.0, -2.0, -4.0, -8.0]),
        error=Unsupported,
        says="letters of both",
        ask="score",
    ),
    "E1-mark": Case(
        echo(["<s>", "\u2581The", "\u2581cat", "\u2581sat", "!"], [None, -1.0, -2.0, -4.0, -8.0], "x"),
        -4.0,
        ask="score",
    ),
    "E1-offsets": Case(echo(["The cat", " sat", "!"], [None, -4.0, -8.0], text_offset=[0, 9, 99]), -4.0, ask="score"),
    "E2-without-tokens": Case(
        echo(["The cat sat!"], [None, -4.0, -8.0], tokens=None, text_offset=[0, 7, 11]), -4.0, ask="score"
    ),
    "E2-ignores-echo": Case(echo(["!"], [-1.0]), error=Unsupported, says="another text", ask="score"),
    "E2-from-the-fourth": Case(
        echo([" cat", " sat", "!"], [-1.0, -1.0, -1.0]), error=Unsupported, says="another text", ask="score"
    ),
    "E2-bytes": Case(
        echo(["The cat sat!"], [None, -4.0], tokens=None, text_offset=[0, 40]),
        error=Unsupported,
        says="another text",
        ask="score",
    ),
    "E3-no-value": Case(echo(["The cat", " sat"], [None, None]), error=Unsupported, says="continuation", ask="score"),
    "E3-impossible": Case(echo(["The cat", " sat"], [None, 5.0]), error=Unsupported, says="continuation", ask="score"),
    "E2-refuses-echo": Case(error(400, "no echo here"), error=Unsupported, says="no echo", ask="score"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[m.Misbehaving]:
    with m.misbehaving({"good": m.good} | {name: case.play for name, case in CASES.items()}) as running:
        first = RemoteModel("good", running.url)
        first.generate(["hi"])  # what is imported and begun once is not measured
        first.transport.close()
        yield running


def asked(model: RemoteModel, case: Case) -> Any:
    if case.ask == "score":
        return model.score([("The cat ", "sat")])[0]
    if case.ask == "generate":
        return model.generate(["hi"], Sampling(max_tokens=9))[0]
    pieces, stream = [], model.stream("hi")
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            found: Completion = end.value
            assert "".join(pieces) == found.text
            return found


async def awaited(model: RemoteModel, case: Case) -> Any:
    """The same in the event loop that asks."""
    try:
        if case.ask == "generate":
            return (await model.answers(["hi"], Sampling(max_tokens=9)))[0]
        pieces = [piece async for piece in model.pieces("hi")]
        assert "".join(pieces[:-1]) == pieces[-1].text
        return pieces[-1]
    finally:
        await model.leave()


WAYS = [("blocking", name) for name in CASES] + [("awaited", name) for name in CASES if CASES[name].ask != "score"]


def timeout_of(name: str) -> float:
    """Long enough for those that send much or are waited for."""
    case = CASES[name]
    if name in ("huge", "gzip-bomb", "E11-long-line", "nested"):
        return 30.0
    return TIMEOUT_S if "has not answered" in case.says or "for-ever" in name or "nothing" in name else 4.0


@pytest.mark.parametrize(("way", "name"), WAYS)
def test_a_misbehaving_endpoint(
    server: m.Misbehaving, way: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CONSORT_API_KEY", KEY)
    case, timeout_s, found, raised = CASES[name], timeout_of(name), None, None
    model = RemoteModel(name, server.url, timeout_s=timeout_s, sleep=m.brief)
    server.seen[name] = 0
    begun = time.perf_counter()
    try:
        found = asked(model, case) if way == "blocking" else asyncio.run(awaited(model, case))
    except ConsortError as error:
        raised = error
    assert time.perf_counter() - begun < timeout_s + 1
    shown = [caplog.text, repr(raised), str(raised), repr(found), repr(vars(model)), repr(vars(model.transport))]
    model.transport.close()
    assert f"bearer {KEY.lower()}" in server.keys
    assert not any(KEY[at : at + 8] in "".join(shown) for at in range(len(KEY) - 7))
    if case.says:
        assert type(raised) is case.error, raised
        with pytest.raises(case.error, match=case.says):
            raise raised
        assert raised.hint and len(str(raised)) < 400
    elif case.ask == "score":
        assert found == case.gives, raised
    else:
        assert raised is None
        assert (found.text, found.finish_reason, found.logprob) == (case.gives, case.finish, case.logprob)
    if case.requests:
        assert server.seen[name] == case.requests


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 40
