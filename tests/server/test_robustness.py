"""What the specification of robustness lists for the server (31 to 51), asked of one; the next request is answered."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import threading
import time

import httpx
import pytest

import consort as c
from consort.core.errors import BadParameter, EnvironmentFailure
from consort.models.fake import FakeModel, FakeTokenizer, FakeTokenModel
from consort.server.limits import Limits
from consort.server.run import Server
from tests.server.conftest import chat, letters

JSON = {"content-type": "application/json"}
POSTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/tokenize", "/detokenize",
         "/v1/embeddings", "/api/chat", "/api/generate", "/api/show", "/v1/messages/count_tokens",
         "/consort/view")  # fmt: skip
GETS = ("/v1/models", "/v1/models/letters", "/metrics", "/tokenizer_info", "/api/tags", "/api/version", "/ready", "/",
        "/openapi.json", "/consort/models", "/consort/zoo", "/static/page.js")  # fmt: skip


@pytest.fixture(autouse=True)
def good_before_and_after(request):
    yield
    if "client" in request.fixturenames:
        client = request.getfixturevalue("client")
        assert client.post("/v1/chat/completions", json=chat()).status_code == 200


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"a"', b'{"temperature": NaN}', b"\xff", b"[" * 100_000])
def test_31_what_is_no_json_object(client, path, body):
    assert client.post(path, content=body, headers=JSON).status_code == 400


def test_31_another_content_type(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = client.post("/v1/chat/completions", content=json.dumps(chat()), headers={"content-type": kind})
        assert answer.status_code == 400


def raw(server, data, *, wait=5.0, pause=0.0):
    """What comes back for bytes that are sent as they are."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as opened:
        for part in data if isinstance(data, list) else [data]:
            opened.sendall(part)
            time.sleep(pause)
        found = b""
        try:
            while part := opened.recv(65536):
                found += part
                if b"\r\n\r\n" in found and b"keep-alive" not in found:
                    break
        except TimeoutError:
            pass
    return found


def head(length, extra=b""):
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: " + str(length).encode() + b"\r\n" + extra + b"\r\n"
    )


def test_32_a_body_that_is_too_long_is_refused_before_it_comes(server, client):
    assert raw(server, head(100 * 2**20)).startswith(b"HTTP/1.1 413")
    chunked = (b"x" * 2**20 for _ in range(12))
    assert client.post("/v1/chat/completions", content=chunked, headers=JSON).status_code == 413


def test_33_34_are_in_test_openai(client):
    assert client.post("/v1/chat/completions", json=chat(model="nobody")).status_code == 404
    assert client.post("/v1/chat/completions", json={"model": "letters"}).json()["error"]["param"] == "messages"


@pytest.mark.parametrize("fields", [{"max_tokens": 0}, {"messages": [{"role": "user", "content": ""}]}])
def test_36_48_the_least_there_is(client, fields):
    answer = client.post("/v1/chat/completions", json=chat(**fields))
    assert answer.status_code == 200
    plain = client.post("/v1/completions", json={"model": "letters", "prompt": "", "max_tokens": 3, "temperature": 0})
    assert plain.status_code == 200 and plain.json()["usage"]["completion_tokens"] == 3


def test_41_strange_texts(client):
    for text in ("\u0000", "a" * 2**20):
        answer = client.post("/v1/chat/completions", json=chat(text, model="windowed"))
        assert answer.status_code == 400, answer.text[:200]
    assert client.post("/v1/chat/completions", json=chat("\u0000", model="echo")).status_code == 200


def test_42_strange_heads(server):
    body = json.dumps(chat()).encode()
    assert raw(server, head(len(body), b"content-length: 5\r\n") + body).startswith(b"HTTP/1.1 400")
    assert raw(server, head(len(body), b"x-long: " + b"a" * 2**16 + b"\r\n") + body).startswith(b"HTTP/1.1 4")


def endless():
    return FakeTokenModel.random(4, FakeTokenizer("abc ", eos=False), name="endless")


def test_43_a_client_that_leaves(tmp_path):
    with Server(models={"endless": endless()}, port=0) as running:
        work = running.state.scheduler
        body = {"model": "endless", "prompt": "a", "max_tokens": 10**6}
        for stream in (True, False):
            with httpx.Client(base_url=running.url, timeout=httpx.Timeout(5, read=0.5)) as client:
                if stream:
                    with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
                        lines = answer.iter_lines()
                        assert next(lines) and work.at_work == 1
                else:
                    with pytest.raises(httpx.ReadTimeout):
                        client.post("/v1/completions", json=body)
            until = time.monotonic() + 1
            while work.at_work and time.monotonic() < until:
                time.sleep(0.01)
            assert work.at_work == 0 and running.state.in_flight == 0


def test_44_a_slow_client(monkeypatch):
    slow = Limits(head_s=0.6, body_s=0.6)
    monkeypatch.setattr("consort.server.run.Options.limits", slow)
    with Server(models={"letters": letters(1)}, port=0) as running, httpx.Client(base_url=running.url) as client:
        begun = time.monotonic()
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(raw(running, [b"POST /v1/chat/comple"], wait=4))),
            threading.Thread(target=lambda: found.append(raw(running, [head(1000), b"{"], wait=4))),
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert client.post("/v1/chat/completions", json=chat()).status_code == 200
        assert time.monotonic() - begun < 3.5
        assert sorted(answer[:12] for answer in found) == [b"", b"HTTP/1.1 408"]


def test_45_more_requests_than_the_queue_holds():
    def slow(text):
        time.sleep(0.2)
        return "done"

    with Server(models={"slow": FakeModel(slow)}, port=0, queue=8) as running:
        body, limits = chat(model="slow"), httpx.Limits(max_connections=200)
        with (
            httpx.Client(base_url=running.url, timeout=60, limits=limits) as client,
            concurrent.futures.ThreadPoolExecutor(200) as pool,
        ):
            answers = list(pool.map(lambda _: client.post("/v1/chat/completions", json=body), range(200)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429} and statuses.count(200) >= 8
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"


def test_46_every_route_but_health_wants_the_key(monkeypatch):
    monkeypatch.setenv("CONSORT_TEST_KEY", "sk-CANARY123")
    with Server(models={"letters": letters(1)}, port=0, api_key_env="CONSORT_TEST_KEY") as running:
        with httpx.Client(base_url=running.url) as client:
            for headers in ({}, {"authorization": "Bearer sk-wrong"}, {"authorization": "Basic !!"}, {"x-api-key": ""}):
                for path in (*GETS, "/nothing"):
                    assert client.get(path, headers=headers).status_code == 401, path
                for path in POSTS:
                    answer = client.post(path, json=chat(), headers=headers)
                    assert answer.status_code == 401 and "CANARY" not in answer.text
            assert client.get("/health").status_code == 200
            for headers in (
                {"authorization": "Bearer sk-CANARY123"},
                {"x-api-key": "sk-CANARY123"},
                {"authorization": httpx.BasicAuth("any", "sk-CANARY123")._auth_header},
            ):
                assert client.post("/v1/chat/completions", json=chat(), headers=headers).status_code == 200
            assert "CANARY" not in client.get("/metrics", headers={"x-api-key": "sk-CANARY123"}).text
        assert "CANARY" not in repr(running.state.keys) + repr(running.options)


def test_46_a_host_that_others_reach_needs_a_key():
    with pytest.raises(BadParameter, match="no key"):
        Server(models={"letters": letters(1)}, host="0.0.0.0", port=0).prepare()


def test_47_wrong_methods_and_paths(client):
    for path in POSTS:
        answer = client.get(path)
        assert answer.status_code == 405 and answer.headers["allow"] == "POST"
    for path in GETS:
        assert client.post(path, json={}).status_code == 405, path
    missing = client.get("/v1/nothing")
    assert missing.status_code == 404 and missing.json()["error"]["message"]


def test_foreign_hosts_and_origins(client, server):
    for headers in ({"host": "evil.example"}, {"host": "localhost:1", "origin": "http://evil.example"}):
        assert client.post("/v1/chat/completions", json=chat(), headers=headers).status_code == 403
    own = {"origin": server.url}
    assert client.post("/v1/chat/completions", json=chat(), headers=own).status_code == 200
    assert "access-control-allow-origin" not in client.get("/v1/models").headers


def failing(kind):
    def answer(text):
        if kind == "hangs":
            time.sleep(3)
            return "late"
        raise EnvironmentFailure("does not answer rightly", field="member")

    return FakeModel(answer, name=f"member-{kind}", logprob=-9.0)


def test_49_a_member_that_is_down_is_dropped_and_named():
    voters = [FakeModel(lambda text: "yes", name="a"), failing("down"), FakeModel(lambda text: "yes", name="b")]
    with Server(models={"vote": c.vote(voters)}, port=0) as running:
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=chat(model="vote"), timeout=10)
        assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"] == "yes"
        assert answer.headers["x-consort-degraded"] == "true"
        assert answer.headers["x-consort-dropped"] == "member-down:error"
        assert answer.json()["consort"]["dropped"] == {"member-down": "error"}
        for _ in range(4):
            last = httpx.post(f"{running.url}/v1/chat/completions", json=chat(model="vote"))
        assert last.headers["x-consort-dropped"] == "member-down:cooldown"


@pytest.mark.parametrize("stream", [False, True])
def test_49_a_cascade_goes_on_where_a_member_fails(stream):
    unsure, good = (FakeModel({"x": name}, name=name, logprob=-9.0) for name in ("unsure", "good"))
    cascades = {
        "first": c.cascade([failing("down"), good]),
        "last": c.cascade([unsure, failing("down")]),
        "all": c.cascade([failing("down"), failing("down")]),
    }
    with Server(models=cascades, port=0) as running:
        for name, said in (("first", "good"), ("last", "unsure")):
            answer = httpx.post(f"{running.url}/v1/chat/completions", json=chat("x", model=name, stream=stream))
            assert answer.status_code == 200 and f'"{said}"' in answer.text
            assert answer.headers["x-consort-dropped"] == "member-down:error"
            assert answer.headers["x-consort-degraded"] == "true"
            assert '"dropped":{"member-down":"error"}' in answer.text and f'"answered_by":"{said}"' in answer.text
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=chat("x", model="all", stream=stream))
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "no_member"


@pytest.mark.parametrize("stream", [False, True])
def test_49_a_member_that_hangs_is_dropped_at_its_time_and_named(stream):
    inner = c.vote([FakeModel(lambda text: "yes", name="c"), failing("hangs")])
    for model in (c.vote([FakeModel(lambda text: "yes", name="a"), failing("hangs")]), c.vote([inner])):
        with Server(models={"vote": model}, port=0, deadline_s=2.0) as running:
            begun = time.monotonic()
            body = chat(model="vote", stream=stream)
            answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=10)
            assert time.monotonic() - begun < 2.9 and answer.status_code == 200, answer.text
            assert answer.headers["x-consort-dropped"] == "member-hangs:timeout" and "yes" in answer.text
            assert answer.headers["x-consort-degraded"] == "true"


@pytest.mark.parametrize(("quorum", "status"), [(2, 200), (3, 503)])
def test_49_a_quorum(quorum, status):
    voters = [FakeModel(lambda text: "yes", name=name) for name in "ab"]
    with Server(models={"vote": c.vote([*voters, failing("hangs")])}, port=0, deadline_s=2.0, quorum=quorum) as running:
        for stream in (False, True):
            body = chat(model="vote", stream=stream)
            answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=10)
            assert answer.status_code == status, answer.text


def test_49_a_local_member_that_is_late_gives_its_row_back():
    slow = endless()
    models = {"vote": c.vote([FakeModel(lambda text: "yes", name="a"), slow])}
    with Server(models=models, port=0, deadline_s=2.0) as running:
        body = {"model": "vote", "prompt": "a", "max_tokens": 10**6}
        answer = httpx.post(f"{running.url}/v1/completions", json=body, timeout=10)
        assert answer.status_code == 200 and answer.headers["x-consort-dropped"] == "endless:timeout"
        until = time.monotonic() + 1
        while running.state.scheduler.at_work and time.monotonic() < until:
            time.sleep(0.01)
        assert running.state.scheduler.at_work == 0


def test_49_one_model_that_hangs_is_a_504_within_the_deadline():
    with Server(models={"one": failing("hangs")}, port=0, deadline_s=0.5) as running:
        begun = time.monotonic()
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=chat(model="one"), timeout=10)
        assert answer.status_code == 504 and time.monotonic() - begun < 2


def test_50_all_members_down():
    models = {"vote": c.vote([failing("down"), failing("down")])}
    with Server(models=models, port=0) as running:
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=chat(model="vote"), timeout=10)
        assert answer.status_code == 503, answer.text


def windowed(seed):
    made = letters(seed)
    made.window = 32
    return made


@pytest.mark.parametrize("stream", [False, True])
def test_35_a_prompt_that_no_member_can_read_is_the_requests_fault(stream):
    teams = {
        "vote": c.vote([windowed(1), windowed(2)]),
        "average": c.average([windowed(1), windowed(2)]),
        "mixed": c.vote([windowed(1), failing("down")]),
    }
    with Server(models=teams, port=0) as running:
        for name, status in (("vote", 400), ("average", 400), ("mixed", 503)):
            body = chat("a" * 200, model=name, stream=stream)
            answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=30)
            assert answer.status_code == status, answer.text
            if status == 400:
                error = answer.json()["error"]
                assert error["code"] == "context_length_exceeded" and error["param"] == "messages"


def test_51_a_port_in_use(server):
    with pytest.raises(BadParameter, match=str(server.port)) as caught:
        Server(models={"letters": letters(1)}, port=server.port).prepare()
    assert caught.value.exit_code == 2


def test_a_bad_request_changes_nothing_of_good_ones(server):
    bad = [
        {"content": b"{"},
        {"json": chat(max_tokens="abc")},
        {"json": chat(guided_regex="(")},
        {"json": chat(model="nobody")},
        {"json": chat("a" * 10**5, model="windowed")},
        {"json": chat(logit_bias={"10000000": 1})},
        {"json": chat(guided_choice=["\u4e16"])},
    ]
    bodies = [chat("abc"[i % 3] * (1 + i % 7), temperature=i % 2, seed=i, max_tokens=20) for i in range(50)]

    def round_of(extra):
        pool = concurrent.futures.ThreadPoolExecutor(24)
        with httpx.Client(base_url=server.url, timeout=60) as client, pool:
            wrong = [pool.submit(client.post, "/v1/chat/completions", headers=JSON, **one) for one in extra]
            found = list(pool.map(lambda body: client.post("/v1/chat/completions", json=body), bodies))
            assert all(400 <= future.result().status_code < 500 for future in wrong)
        assert {answer.status_code for answer in found} == {200}
        return [answer.json()["choices"][0]["message"]["content"] for answer in found]

    assert round_of([]) == round_of(bad * 3)


def test_huge_numbers_are_400_by_name(client):
    for name in ("temperature", "top_p", "min_p", "presence_penalty", "max_tokens", "n", "seed"):
        for value in (10**400, -(10**400)):
            answer = client.post("/v1/chat/completions", json=chat(**{name: value}))
            assert answer.status_code == 400 and answer.json()["error"]["param"] == name, answer.text
    biased = client.post("/v1/chat/completions", json=chat(logit_bias={"1": 10**400}))
    assert biased.status_code == 400


def test_a_body_of_many_values_is_read_without_collections():
    import gc

    from consort.server.http import _decoded

    begun, many = gc.get_stats()[2]["collections"], b'{"a":[' + b",".join([b"{}"] * 300_000) + b"]}"
    found = _decoded(many)
    assert gc.get_stats()[2]["collections"] == begun and len(found["a"]) == 300_000 and gc.isenabled()
    with pytest.raises(ValueError):
        _decoded(many[:-1])
    assert gc.isenabled()
