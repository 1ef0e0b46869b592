"""Keys and budgets, metrics, records, reload, drain, workers; a server killed under load loses and doubles nothing."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

import consort as c
from consort.core.errors import BadData
from consort.models.fake import FakeModel
from consort.server.errors import ApiError
from consort.server.operations.keys import Allowance, Keys, digest_of, load_keys
from consort.server.request import Answer
from consort.server.run import Server
from tests.server.conftest import chat, letters


def test_keys_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_A", "sk-a")
    file = tmp_path / "keys.yml"
    file.write_text(
        f"team: {{key_env: KEY_A, models: [letters], requests_per_minute: 3, tokens: 40}}\n"
        f"boss: {{key_sha256: {digest_of('sk-b').hex()}, money: 0.0005, prices: {{letters-1: [10, 20]}}}}\n"
    )
    options = {"keys": file, "store": tmp_path / "spent.db", "port": 0}
    models = {"letters": letters(1), "echo": FakeModel(lambda text: text, name="echo")}
    team, boss = ({"authorization": f"Bearer sk-{name}"} for name in "ab")
    with Server(models=models, **options) as running, httpx.Client(base_url=running.url) as client:
        running.state.keys.clock = lambda: 600.0  # no minute ends while this test runs
        assert [m["id"] for m in client.get("/v1/models", headers=team).json()["data"]] == ["letters"]
        assert client.get("/v1/models/echo", headers=team).status_code == 404
        refused = client.post("/v1/chat/completions", json=chat(model="echo"), headers=team)
        assert refused.status_code == 404
        first = client.post("/v1/chat/completions", json=chat(), headers=team)
        assert first.status_code == 200
        while True:
            answer = client.post("/v1/chat/completions", json=chat(), headers=team)
            if answer.status_code != 200:
                break
        assert answer.status_code == 429
        for _ in range(6):
            last = client.post("/v1/chat/completions", json=chat(), headers=boss)
        assert last.status_code == 429 and last.json()["error"]["code"] == "insufficient_quota"
    with Server(models=models, **options) as running, httpx.Client(base_url=running.url) as client:
        again = client.post("/v1/chat/completions", json=chat(), headers=boss)
        assert again.json()["error"]["code"] == "insufficient_quota"
    assert (tmp_path / "spent.db").stat().st_mode & 0o077 == 0
    assert b"sk-" not in (tmp_path / "spent.db").read_bytes()


def test_rates_are_of_this_minute():
    now = [600.0]
    keys = Keys([Allowance("a", digest_of("x"), requests_per_minute=2, tokens_per_minute=10)], clock=lambda: now[0])
    grant = keys.grant("a")
    grant.take_request()
    grant.take_request()
    with pytest.raises(ApiError) as caught:
        grant.take_request()
    assert caught.value.status == 429 and caught.value.headers["retry-after"] == "60"
    now[0] += 60
    grant.take_request()
    completion = letters(1).generate(["abc"])[0]
    grant.spend("letters", [Answer(0, "", "stop", completion)])
    with pytest.raises(ApiError, match="tokens"):
        grant.take_request()
    keys.close()


@pytest.mark.parametrize("text", ["a: 3", "a: {key_env: NOPE, modles: []}", "a: {}", "[]", "a: {key_sha256: xyz}"])
def test_a_wrong_file_of_keys_is_refused(tmp_path, text):
    (tmp_path / "k.yml").write_text(text)
    with pytest.raises(BadData, match=r"k\.yml"):
        load_keys(tmp_path / "k.yml", None)


def test_metrics(client):
    client.post("/v1/chat/completions", json=chat(model="cascade"))
    client.post("/v1/chat/completions", json=chat(model="speculate"))
    text = client.get("/metrics").text
    for line in (
        'consort_requests_total{model="cascade",route="chat",status="200"}',
        'consort_chosen_total{member="sure",strategy="cascade"}',
        'consort_member_calls_total{member="sure",outcome="ok",strategy="cascade"}',
        'consort_tokens_total{kind="completion",model="cascade"}',
        'consort_speculative_drafted_total{position="1"}',
        'consort_time_to_first_token_seconds_count{model="cascade"}',
        'consort_overhead_seconds_count{route="chat"}',
        "consort_queue_depth",
        "consort_in_flight",
    ):
        assert line in text, line
    client.post("/v1/chat/completions", json=chat(model="made-up-name"))
    assert "made-up-name" not in client.get("/metrics").text


def test_records_have_no_prompts_unless_asked(tmp_path):
    for prompts in (False, True):
        log = tmp_path / f"log-{prompts}.jsonl"
        with Server(models={"letters": letters(1)}, port=0, log=str(log), log_prompts=prompts) as running:
            url, heads = f"{running.url}/v1/chat/completions", {"authorization": "sk-no"}
            usage = httpx.post(url, json=chat("cab bad"), headers=heads).json()["usage"]
            httpx.post(f"{running.url}/v1/chat/completions", json=chat(stream=True))
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["status"] for line in lines] == [200, 200]
        assert lines[0]["completion_tokens"] == usage["completion_tokens"] > 0  # sampled: may end before its bound
        assert lines[1]["stream"] and lines[1]["first_s"] > 0
        assert ("cab bad" in log.read_text()) is prompts and "sk-no" not in log.read_text()


def test_exact_answers_are_kept_where_asked():
    calls = []

    def answer(text):
        calls.append(text)
        return text

    with Server(models={"echo": FakeModel(answer, name="echo")}, port=0, cache=4) as running:
        url = f"{running.url}/v1/chat/completions"
        bodies = [httpx.post(url, json=chat(model="echo", temperature=0)) for _ in range(2)]
        assert bodies[0].content == bodies[1].content and bodies[1].headers["x-consort-cache"] == "hit"
        for _ in range(2):
            httpx.post(url, json=chat(model="echo", temperature=1))
        assert len(calls) == 3


PLAN = "plan: {cascade: {models: [%s], threshold: 0.5}}\n"


def test_reload_and_drain(tmp_path):
    plan = tmp_path / "team.yml"
    plan.write_text("plan: lab:base\n")
    with Server([str(plan)], port=0) as running, httpx.Client(base_url=running.url, timeout=30) as client:
        assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["team"]
        loaded = running.state.table.models["team"].model
        plan.write_text("plan: {average: {models: [lab:base, lab:next]}}\n")
        running.reload()
        assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["team", "lab:base", "lab:next"]
        assert running.state.table.models["lab:base"].model is loaded  # what was loaded is not loaded again
        plan.write_text("plan: {avreage: {models: [lab:base]}}\n")
        running.reload()
        assert client.post("/v1/completions", json={"model": "team", "prompt": "a", "max_tokens": 2}).status_code == 200


def test_what_is_under_way_ends_before_the_server_does():
    started = threading.Event()

    def slow(text):
        started.set()
        time.sleep(0.7)
        return "done"

    running = Server(models={"slow": FakeModel(slow, name="slow")}, port=0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with running:
            future = pool.submit(httpx.post, f"{running.url}/v1/chat/completions", json=chat(model="slow"), timeout=20)
            assert started.wait(5)
        assert future.result().json()["choices"][0]["message"]["content"] == "done"


UPSTREAM = """
import sys, time
from consort.models.fake import FakeModel, FakeTokenizer, FakeTokenModel
from consort.server.run import Server
letters = "".join(chr(i) for i in range(32, 127)) + chr(10)
endless = FakeTokenModel.random(4, FakeTokenizer(letters, eos=False), name="endless")
def slow(text):
    time.sleep(0.02)
    return "answer to " + text
Server(models={"echo": FakeModel(slow, name="echo"), "endless": endless}, port=int(sys.argv[1])).run()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, seconds=300.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/ready", timeout=1).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not come up")


@pytest.fixture
def start(request):
    """Starts servers in processes of their own, ended with the test."""
    processes = []

    def begin(command, url):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        processes.append(process)
        wait_for(url)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def upstream(start, port):
    return start([sys.executable, "-c", UPSTREAM, str(port)], f"http://127.0.0.1:{port}")


@pytest.mark.slow
def test_an_upstream_killed_in_mid_stream_is_told_as_an_error(start):
    port = free_port()
    process = upstream(start, port)
    far = c.model(f"openai:endless@http://127.0.0.1:{port}/v1")
    with Server(models={"far": far}, port=0) as running:
        body = chat(model="far", stream=True, max_tokens=100_000)
        with httpx.stream("POST", f"{running.url}/v1/chat/completions", json=body, timeout=30) as answer:
            lines = answer.iter_lines()
            while '"content":"' not in next(lines):
                pass
            process.send_signal(signal.SIGKILL)
            last = [line for line in lines if line][-1]
        assert "error" in json.loads(last.removeprefix("data: "))
        assert running.state.in_flight == 0


class Balancer:
    """A tiny balancer: connections go to the servers in turn, past those that do not listen."""

    def __init__(self, ports):
        self.ports, self.turn = ports, 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near):
        for _ in range(2 * len(self.ports)):
            self.turn += 1
            try:
                far = socket.create_connection(("127.0.0.1", self.ports[self.turn % len(self.ports)]), timeout=2)
                break
            except OSError:
                continue
        else:
            near.close()
            return
        back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
        back.start()
        self._copy(near, far)
        back.join()
        near.close()
        far.close()

    @staticmethod
    def _copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def retrying(url, text):
    """One answer, asked for again on lost connections and 5xx, as clients do."""
    for _ in range(40):
        try:
            headers = {"connection": "close"}
            answer = httpx.post(
                f"{url}/v1/chat/completions", json=chat(text, model="echo"), headers=headers, timeout=20
            )
            if answer.status_code == 200:
                return answer.json()["choices"][0]["message"]["content"]
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"no answer to {text}")


@pytest.mark.slow
def test_a_rolling_restart_loses_and_doubles_nothing(start):
    ports = [free_port(), free_port()]
    processes = [upstream(start, port) for port in ports]
    balancer = Balancer(ports)
    texts = [f"question {i}" for i in range(300)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(retrying, balancer.url, text) for text in texts]
        for i, (number, port) in enumerate(zip((signal.SIGTERM, signal.SIGKILL), ports, strict=True)):
            time.sleep(0.3)
            processes[i].send_signal(number)
            processes[i].wait(40)
            upstream(start, port)
        found = [future.result() for future in futures]
    assert found == [f"answer to {text}" for text in texts]
    balancer.socket.close()


@pytest.mark.slow
def test_a_worker_killed_under_load_is_replaced(start, tmp_path):
    inner, port = free_port(), free_port()
    upstream(start, inner)
    plan = tmp_path / "team.yml"
    plan.write_text(f"plan: openai:echo@http://127.0.0.1:{inner}/v1\n")
    command = [sys.executable, "-m", "consort", "serve", f"echo={plan}", "--port", str(port), "--workers", "2"]
    process = start(command, f"http://127.0.0.1:{port}")
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    assert len(children) == 2
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = [f"question {i}" for i in range(200)]
        futures = [pool.submit(retrying, f"http://127.0.0.1:{port}", text) for text in texts]
        time.sleep(0.3)
        os.kill(int(children[0]), signal.SIGKILL)
        assert [future.result() for future in futures] == [f"answer to {text}" for text in texts]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_local_weights_have_one_process(tmp_path, capsys):
    from consort.cli import main

    with pytest.raises(SystemExit, match="2"):
        main(["serve", "lab:base", "--workers", "2", "--port", "0"])
    said = capsys.readouterr().err
    assert "--workers" in said and "hint:" in said


@pytest.mark.slow
def test_the_command(start, tmp_path):
    port = free_port()
    plan = tmp_path / "duo.yml"
    plan.write_text("plan: {average: {models: [lab:base, lab:next]}}\n")
    command = [sys.executable, "-m", "consort", "serve", str(plan), "small=lab:b-base", "--port", str(port)]
    process = start(command, f"http://127.0.0.1:{port}")
    ids = [m["id"] for m in httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["data"]]
    assert ids == ["duo", "small", "lab:base", "lab:next"]
    plan.write_text("plan: lab:next\n")
    process.send_signal(signal.SIGHUP)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        ids = [m["id"] for m in httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["data"]]
        if ids == ["duo", "small"]:
            break
        time.sleep(0.1)
    assert ids == ["duo", "small"]
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 2 and str(port) in again.stderr and "Traceback" not in again.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
