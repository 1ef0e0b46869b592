"""A server and clients on loopback: the same result as in one process, and liars that are left out by name."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
import torch

from consort.core.errors import BadParameter, EnvironmentFailure
from consort.federate import Federation, Update
from consort.federate.clients.client import RoundTask
from consort.federate.http.hub import Hub
from consort.federate.http.joining import Joined
from consort.federate.http.limits import PART, Limits
from consort.federate.http.mailbox import digest_of
from consort.federate.rounds import Rounds
from consort.federate.secure.rounds import SecureSum
from consort.federate.state import hash_of
from consort.federate.wire import Message, read_message, task_message, task_of, update_message, update_of

TOKENS = {name: f"token-of-{name}-0123456789" for name in ("a", "b", "liar")}


@pytest.fixture
def hub(tmp_path):
    with Hub(TOKENS, tmp_path / "in", {"model": "m"}, deadline_s=20, limits=Limits(request_s=1.0)) as hub:
        yield hub


def joining(hub, client, **more):
    """The thread of a client that works until the server is done."""

    def work():
        with contextlib.suppress(Exception), Joined(hub.url, TOKENS[client.id], patience_s=2, **more) as joined:
            joined.work(client, pause_s=0.02)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def trio(adding):
    return [adding("a", 1.0), adding("b", 2.0), adding("liar", 6.0)]


@pytest.mark.parametrize("secure", [None, SecureSum(bound=8.0)], ids=["plain", "masked"])
@pytest.mark.parametrize("rule", ["fedavg", "scaffold"])
def test_over_http_it_is_the_run_in_one_process(rule, secure, hub, start, trio, quadratic_clients) -> None:
    if secure is not None and rule == "scaffold":
        return  # refused, see test_masking
    clients = quadratic_clients(3) if rule == "scaffold" else trio
    for name, client in zip(TOKENS, clients, strict=True):
        client.id = name
        joining(hub, client)
    found = Federation(start, hub.clients, rule, Rounds(rounds=3, workers=3), secure=secure).run()
    again = quadratic_clients(3) if rule == "scaffold" else trio
    for name, client in zip(TOKENS, again, strict=True):
        client.id = name
    assert found.hash == Federation(start, again, rule, Rounds(rounds=3), secure=secure).run().hash


def one_round(hub, start, trio, act):
    """A round in which `act(url, headers)` plays the third client; its line."""
    for client in trio[:2]:
        joining(hub, client)
    headers = {"Authorization": f"Bearer {TOKENS['liar']}"}

    def play():
        with contextlib.suppress(httpx.TransportError, OSError):  # the server hangs up on liars
            act(hub.url, headers)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    found = Federation(start, hub.clients, rounds=Rounds(workers=3, deadline_s=8)).run()
    thread.join(timeout=15)
    assert found.hash == Federation(start, trio[:2]).run().hash
    return found.history[0]


def wait_for_task(url, headers) -> str:
    while True:
        task = httpx.get(f"{url}/v1/task", headers=headers, trust_env=False).json()["task"]
        if task:
            return task
        time.sleep(0.02)


def send(url, headers, task, content: bytes) -> int:
    put = {**headers, "X-Digest": digest_of(content)}
    httpx.put(f"{url}/v1/answer/{task}/0", content=content, headers=put, trust_env=False)
    done = {"parts": 1, "bytes": len(content)}
    return httpx.post(f"{url}/v1/answer/{task}", json=done, headers=headers, trust_env=False).status_code


def test_an_upload_of_two_gigabytes_is_refused_before_it_is_read(hub, start, trio) -> None:
    def act(url, headers):
        task = wait_for_task(url, headers)
        with socket.create_connection(hub._server.server_address[:2]) as line:
            head = f"PUT /v1/answer/{task}/0 HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n"
            line.sendall(f"{head}Content-Length: {2**31}\r\n\r\n".encode())
            assert b"413" in line.recv(100)

    assert "2,147,483,648 bytes" in one_round(hub, start, trio, act)["excluded"]["liar"]


def test_many_parts_are_refused_once_they_are_too_much(hub, start, trio) -> None:
    def act(url, headers):
        task = wait_for_task(url, headers)
        for part in range(20):
            content = bytes(PART)
            put = {**headers, "X-Digest": digest_of(content)}
            httpx.put(f"{url}/v1/answer/{task}/{part}", content=content, headers=put, trust_env=False)

    assert "sends more than" in one_round(hub, start, trio, act)["excluded"]["liar"]


def test_a_slow_drip_is_cut_off(hub, start, trio) -> None:
    def act(url, headers):
        task = wait_for_task(url, headers)
        with contextlib.suppress(OSError), socket.create_connection(hub._server.server_address[:2]) as line:
            head = f"PUT /v1/answer/{task}/0 HTTP/1.1\r\nHost: x\r\nAuthorization: {headers['Authorization']}\r\n"
            line.sendall(f"{head}Content-Length: 5000\r\n\r\n".encode())
            for _ in range(100):
                line.sendall(b"x")
                time.sleep(0.1)

    assert "too slow" in one_round(hub, start, trio, act)["excluded"]["liar"]


@pytest.mark.parametrize("what", ["garbage", "pickle", "shape", "nan", "huge", "replay", "somebody else"])
def test_what_is_no_honest_update_is_left_out(what, hub, start, trio) -> None:
    def act(url, headers):
        task = wait_for_task(url, headers)
        parts = range(httpx.get(f"{url}/v1/task", headers=headers, trust_env=False).json()["parts"])
        got = b"".join(httpx.get(f"{url}/v1/task/{task}/{i}", headers=headers, trust_env=False).content for i in parts)
        (hub.boxes["liar"].folder / "task").write_bytes(got)
        state, order = task_of(read_message(hub.boxes["liar"].folder / "task"))
        good = {name: state[name] for name in state}
        bad = {
            "shape": {**good, "w": torch.zeros(2)},
            "nan": {**good, "w": good["w"] + float("nan")},
            "huge": {**good, "w": good["w"] + 1e9},
        }
        update = Update("a" if what == "somebody else" else "liar", bad.get(what, good))
        stamp = "0:old:liar" if what == "replay" else order.stamp
        content = update_message(update, stamp).packed()
        content = {"garbage": b"\xff" * 300, "pickle": b"\x80\x04\x95cos\nsystem\n."}.get(what, content)
        send(url, headers, task, content)

    line = one_round(hub, start, trio, act)
    wanted = {
        "garbage": "safetensors",
        "pickle": "safetensors",
        "shape": "shape",
        "nan": "not finite",
        "huge": "moved by",
        "replay": "replay",
        "somebody else": "says that it is 'a'",
    }[what]
    assert wanted in line["excluded"]["liar"] and line["clients"] == ["a", "b"]


@pytest.mark.parametrize(
    "said", [b'{"parts": 1e400, "bytes": 1}', b"[1]", b"[" * 4000, b"\xff", b'{"parts": "x", "bytes": 1}']
)
def test_an_end_that_says_nothing_is_answered(said, hub) -> None:
    headers = {"Authorization": f"Bearer {TOKENS['liar']}"}
    answer = httpx.post(f"{hub.url}/v1/answer/x", content=said, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()) == (400, {"error": "say {parts, bytes}"})


def test_a_wrong_token_gets_nothing_and_is_named(hub) -> None:
    for path in ("/v1/plan", "/v1/task", "/v1/task/x/0", "/health", "/"):
        answer = httpx.get(
            hub.url + path, headers={"Authorization": "Bearer wrong", "X-Client": "liar"}, trust_env=False
        )
        assert answer.status_code == 401 and answer.json() == {"error": "wrong token"}
    assert httpx.put(f"{hub.url}/v1/answer/x/0", content=b"x", trust_env=False).status_code == 401
    assert hub.strangers[0].startswith("liar at 127.0.0.1: wrong token")
    with pytest.raises(BadParameter, match="token"), Joined(hub.url, "wrong-token-of-nobody") as joined:
        joined.plan()


def test_no_server_and_no_address(start) -> None:
    with pytest.raises(EnvironmentFailure, match="does not answer") as caught:
        Joined("http://127.0.0.1:9", "t", patience_s=0).plan()
    assert "t" * 20 not in str(caught.value)
    with pytest.raises(BadParameter, match="no address"):
        Joined("ftp://x", "t")


def test_servers_that_are_refused(tmp_path) -> None:
    with pytest.raises(BadParameter, match="others could read"):
        Hub(TOKENS, tmp_path, {}, host="0.0.0.0")
    with pytest.raises(BadParameter, match="short, or another's"):
        Hub({"a": "short"}, tmp_path, {})
    with pytest.raises(BadParameter, match="another's"):
        Hub({"a": "x" * 20, "b": "x" * 20}, tmp_path, {})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadParameter, match="in use"):
            Hub(TOKENS, tmp_path, {}, port=taken.getsockname()[1])


def test_a_server_that_comes_back_finds_its_clients(tmp_path, start, quadratic_clients) -> None:
    """The server ends after one round and begins again on the same port; clients go on."""
    clients = quadratic_clients(2)
    names = [client.id for client in clients]
    tokens = {name: f"token-of-{name}-0123456789" for name in names}
    whole = Federation(start, quadratic_clients(2), "scaffold", Rounds(rounds=3)).run()
    hub = Hub(tokens, tmp_path / "in", {}, deadline_s=20)
    hub.start()
    port = hub._server.server_address[1]
    for client in clients:

        def work(client=client, url=hub.url):
            with contextlib.suppress(Exception), Joined(url, tokens[client.id], patience_s=20) as joined:
                joined.work(client, pause_s=0.02)

        threading.Thread(target=work, daemon=True).start()
    Federation(start, hub.clients, "scaffold", Rounds(rounds=1, workers=2), tmp_path / "run").run()
    hub._server.shutdown()
    hub._server.server_close()
    with Hub(tokens, tmp_path / "in", {}, port=port, deadline_s=20) as other:
        found = Federation(start, other.clients, "scaffold", Rounds(rounds=3, workers=2), tmp_path / "run").run()
    assert found.hash == whole.hash


def test_messages_are_read_back(tmp_path, start) -> None:
    task = RoundTask(3, 5, {"scaffold": {}}, {"w": torch.ones(6)}, 2, "3:abc:a")
    (tmp_path / "t").write_bytes(task_message(start, task).packed())
    state, again = task_of(read_message(tmp_path / "t"))
    assert hash_of(state) == hash_of(start) and again.stamp == task.stamp and again.accepted == 2
    assert torch.equal(again.received["w"], torch.ones(6))
    update = Update("a", start, 7, 3, 0.5, {"w": torch.ones(6)}, {"loss": 1.5})
    (tmp_path / "u").write_bytes(update_message(update, "s").packed())
    read = update_of(read_message(tmp_path / "u"), "s")
    assert (read.samples, read.steps, read.lr, read.metrics) == (7, 3, 0.5, {"loss": 1.5})
    assert read_message(tmp_path / "u").kind == "update" and Message("x").packed()


SECRET_ROWS = [{"prompt": f"mirror {a} b c q z =", "target": f"z q c b {a}"} for a in "defghijk"]


def test_nothing_of_the_rows_leaves_a_client(tmp_path) -> None:
    """All bytes that a client sends are recorded and searched for its rows."""
    from consort.federate.member import member_of
    from consort.federate.plan import parse_federate
    from consort.federate.setup import Setup
    from consort.lab import path
    from consort.weights import open_checkpoint

    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, SECRET_ROWS)))
    document = {"model": "lab:base", "clients": ["a"], "data": str(tmp_path / "rows.jsonl")}
    document |= {"train": {"steps": 1, "batch": 4}, "trainable": {"rank": 2}}
    setup, base = Setup(parse_federate(document)), open_checkpoint(path("base"))
    sent: list[bytes] = []

    class Recording(httpx.HTTPTransport):
        def handle_request(self, request):
            sent.append(f"{request.method} {request.url} {request.headers}".encode() + request.read())
            return super().handle_request(request)

    tokens = {"a": TOKENS["a"]}
    bench = setup.bench(base)
    with Hub(tokens, tmp_path / "in", setup.offered(base), deadline_s=60) as hub:

        def work():
            with Joined(hub.url, tokens["a"], transport=Recording()) as joined:
                name, plan = joined.plan()
                joined.work(member_of(name, plan, base, tmp_path / "rows.jsonl"), pause_s=0.02)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        found = Federation(bench.first, hub.clients, setup.rule, Rounds(workers=1)).run()
        hub.farewell()
        thread.join(timeout=5)
    assert found.history[0]["clients"] == ["a"]
    everything = b"".join(sent)
    tokenizer = bench.tokenizer
    for row in SECRET_ROWS:
        ids = tokenizer.encode(f"{row['prompt']} {row['target']}")
        needles = [row["prompt"].encode(), row["target"].encode(), str(tmp_path).encode()]
        needles += [b"".join(i.to_bytes(size, "little") for i in ids[:6]) for size in (2, 4, 8)]
        assert not any(needle in everything for needle in needles)
    assert len(everything) > 10_000


def test_certificates(tmp_path, start, adding) -> None:
    made = subprocess.run(
        [sys.executable, "-c", CERTIFICATE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip("cryptography is needed to make a certificate")
    tokens = {"a": TOKENS["a"]}
    files = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    with Hub(tokens, tmp_path / "in", {}, deadline_s=20, **files) as hub:
        assert hub.url.startswith("https://")
        with pytest.raises(EnvironmentFailure, match="does not answer"):
            Joined(hub.url, tokens["a"], patience_s=0).plan()
        joining(hub, adding("a"), authority=tmp_path / "cert.pem")
        found = Federation(start, hub.clients, rounds=Rounds(workers=1)).run()
    assert found.history[0]["clients"] == ["a"]


CERTIFICATE = """
import datetime, ipaddress, sys
from pathlib import Path
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
folder = Path(sys.argv[1])
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
now = datetime.datetime.now(datetime.timezone.utc)
cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
    .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256()))
pem = serialization.Encoding.PEM
(folder / "cert.pem").write_bytes(cert.public_bytes(pem))
bare = serialization.NoEncryption()
(folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, bare))
"""
