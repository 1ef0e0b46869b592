"""The server's figures: what it adds to an upstream, how streams pass, what it bears, and what batching gives.

    python benchmarks/serve.py [overhead] [stream] [load] [beside] [batching] [--requests 300000] [--litellm ENV]

overhead  direct, gateway, direct, gateway … in turn against a local mock of 1.6 ms: the difference of medians of seven
          rounds, one request at a time; with --litellm its proxy is measured in the same turns
stream    time to first piece and gaps between pieces, direct and through
load      requests at concurrency 64 on an instant model: failures, memory, requests a second against a bare route
beside    rounds of 50 good requests, with and without a bad one among them, in turns: bytes, and p99
batching  32 requests of 64 to 256 tokens that arrive over 5 s on the 17 M model of decode.py, against one at a time

A small client on raw sockets is used, so that it takes little of the machine that it shares with the servers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
BODY = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "temperature": 0}

MOCK = """
import asyncio, json, sys
ANSWER = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "mock", "choices": [{"index": 0,
    "message": {"role": "assistant", "content": "hello there"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}).encode()

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            lines = head.lower().split(b"\\r\\n")
            length = next((int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length")), 0)
            body = await reader.readexactly(length)
            if b'"stream":true' in body.replace(b" ", b""):
                writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\n")
                writer.write(b"transfer-encoding: chunked\\r\\n\\r\\n")
                for i in range(40):
                    data = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": f"w{i} "},
                        "finish_reason": "stop" if i == 39 else None}]}).encode() + b"\\n\\n"
                    writer.write(b"%x\\r\\n%s\\r\\n" % (len(data), data))
                    await writer.drain()
                    await asyncio.sleep(0.01)
                done = b"data: [DONE]\\n\\n"
                writer.write(b"%x\\r\\n%s\\r\\n0\\r\\n\\r\\n" % (len(done), done))
            else:
                await asyncio.sleep(0.0016)
                head = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n"
                writer.write(head % len(ANSWER) + ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""
SERVER = """
import sys
from consort.models.fake import FakeModel
from consort.models.remote.model import RemoteModel
from consort.server.run import Server
models = {"instant": FakeModel({"hello": "hello there"}, name="instant")}
if sys.argv[2] != "0":
    models["mock"] = RemoteModel("mock", f"http://127.0.0.1:{sys.argv[2]}/v1")
Server(models=models, port=int(sys.argv[1]), queue=512).run()
"""
LETTERS = """
import sys
from consort.models.fake import FakeTokenizer, FakeTokenModel
from consort.server.run import Server
letters = FakeTokenModel.random(1, FakeTokenizer("".join(chr(i) for i in range(32, 127)) + chr(10)), name="letters")
Server(models={"letters": letters}, port=int(sys.argv[1])).run()
"""
BARE = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def answer(request):
    body = await request.json()
    message = {"role": "assistant", "content": "hello there"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return JSONResponse({"model": body["model"], "choices": [choice]})

app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
options = {"http": "h11", "loop": "asyncio", "log_level": "critical", "timeout_keep_alive": 600}
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **options)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(*command: str, port: int) -> Iterator[int]:
    """A process that listens on a port; its id."""
    environment = {**os.environ, "LITELLM_MASTER_KEY": "sk-bench"}  # without a key its proxy does not start
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
    try:
        until = time.monotonic() + 180
        while time.monotonic() < until:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(1.0)
        yield running.pid
    finally:
        running.terminate()
        running.wait(60)


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def request_bytes(port: int, model: str, **fields: object) -> bytes:
    body = json.dumps({"model": model, **BODY, **fields}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    return f"{head}authorization: Bearer sk-bench\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One kept connection that sends the same request again and again."""

    def __init__(self, port: int, model: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = request_bytes(port, model)

    def ask(self) -> float:
        """Milliseconds of one request."""
        begun = time.perf_counter()
        self.socket.sendall(self.data)
        found = b""
        while b"\r\n\r\n" not in found:
            found += self._more()
        head, _, body = found.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(found[:300].decode(errors="replace"))
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        while len(body) < length:
            body += self._more()
        return 1e3 * (time.perf_counter() - begun)

    def _more(self) -> bytes:
        found = self.socket.recv(65536)
        if not found:
            raise RuntimeError("the server has closed the connection")
        return found


def overhead(litellm: str | None, rounds: int = 7, each: int = 200) -> None:
    mock, port = free_port(), free_port()
    with process(*python(MOCK, str(mock)), port=mock), process(*python(SERVER, str(port), str(mock)), port=port):
        ways = {"direct": Connection(mock, "mock"), "consort": Connection(port, "mock")}
        with litellm_proxy(litellm, mock) as proxy:
            if proxy:
                ways["litellm"] = Connection(proxy, "mock")
            for way in ways.values():
                for _ in range(50):
                    way.ask()
            medians: dict[str, list[float]] = {name: [] for name in ways}
            slowest: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, way in ways.items():
                    times = sorted(way.ask() for _ in range(each))
                    medians[name].append(statistics.median(times))
                    slowest[name].append(times[int(0.99 * each)])
    direct = medians["direct"]
    print(f"direct: median {statistics.median(direct):.2f} ms, p99 {statistics.median(slowest['direct']):.2f} ms")
    for name in list(ways)[1:]:
        added = [a - b for a, b in zip(medians[name], direct, strict=True)]
        added99 = [a - b for a, b in zip(slowest[name], slowest["direct"], strict=True)]
        low, high = min(added), max(added)
        print(
            f"{name}: adds {statistics.median(added):.2f} ms (rounds {low:.2f} to {high:.2f}),"
            f" p99 {statistics.median(added99):.2f} ms; goal for consort 2 ms, p99 5 ms"
        )


@contextmanager
def litellm_proxy(environment: str | None, mock: int) -> Iterator[int]:
    """litellm's proxy in front of the mock, from an environment of its own; 0 where none is named."""
    if environment is None:
        yield 0
        return
    port = free_port()
    config = {
        "model_list": [
            {
                "model_name": "mock",
                "litellm_params": {"model": "openai/mock", "api_base": f"http://127.0.0.1:{mock}/v1", "api_key": "x"},
            }
        ]
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(json.dumps(config))
        command = (f"{environment}/bin/litellm", "--config", str(file), "--port", str(port), "--host", "127.0.0.1")
        with process(*command, port=port):
            yield port


def stream() -> None:
    mock, port = free_port(), free_port()
    with process(*python(MOCK, str(mock)), port=mock), process(*python(SERVER, str(port), str(mock)), port=port):
        for _ in range(3):
            arrivals(mock), arrivals(port)
        rounds = [(arrivals(mock), arrivals(port)) for _ in range(20)]
    first = [b[0] - a[0] for a, b in rounds]
    gaps = [
        statistics.median([y - x for x, y in zip(b, b[1:], strict=False)])
        - statistics.median([y - x for x, y in zip(a, a[1:], strict=False)])
        for a, b in rounds
    ]
    pieces = {len(b) for _, b in rounds}
    print(
        f"stream: first piece {statistics.median(first):+.2f} ms, gaps {statistics.median(gaps):+.2f} ms against the"
        f" upstream (medians of 20); {pieces} pieces of 40 arrive apart; goal 2 ms each"
    )


def arrivals(port: int) -> list[float]:
    """When each piece of text arrives, in milliseconds after the request."""
    found, seen = b"", []
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.perf_counter()
        opened.sendall(request_bytes(port, "mock", stream=True))
        while b"[DONE]" not in found:
            found += opened.recv(65536)
            count = found.count(b'"content": "w') + found.count(b'"content":"w')
            seen += [1e3 * (time.perf_counter() - begun)] * (count - len(seen))
    return seen


def load(requests: int, concurrency: int = 64) -> None:
    port, bare = free_port(), free_port()
    with process(*python(BARE, str(bare)), port=bare):
        rate_bare, _, _ = hammer(bare, min(requests, 20_000), concurrency, None)
    with process(*python(SERVER, str(port), "0"), port=port) as pid:
        hammer(port, min(requests // 10, 5_000), concurrency, pid)
        rate, failed, memory = hammer(port, requests, concurrency, pid)
    early, late = memory[len(memory) // 10], memory[-1]
    grown = 100 * (late / early - 1)
    print(
        f"load: {requests} requests at {concurrency}: {failed} failed, {rate:.0f}/s, bare route {rate_bare:.0f}/s"
        f" (share {rate / rate_bare:.2f}, goal .5); RSS {early:.0f} to {late:.0f} MiB ({grown:+.1f} %)"
    )


def hammer(port: int, requests: int, concurrency: int, pid: int | None) -> tuple[float, int, list[float]]:
    """Requests a second, failures, and the server's memory (MiB) along the way."""
    failed, memory = 0, [0.0]

    async def main() -> float:
        nonlocal failed
        data, left = request_bytes(port, "instant"), requests

        async def one() -> None:
            nonlocal left, failed
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while left > 0:
                left -= 1
                writer.write(data)
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if b"content-length" in x)
                await reader.readexactly(length)
                failed += b" 200 " not in head[:20]
                if pid is not None and left % max(1, requests // 50) == 0:
                    memory.append(rss(pid))
            writer.close()

        begun = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(concurrency)))
        return time.perf_counter() - begun

    seconds = asyncio.run(main())
    return requests / seconds, failed, memory[1:] or memory


def rss(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def beside(rounds: int = 8, good: int = 50, concurrency: int = 8) -> None:
    """Rounds of good requests alone and with bad ones among them, in turns: bytes, and the slowest of a hundred."""
    from concurrent.futures import ThreadPoolExecutor

    port = free_port()
    bad = ({"max_tokens": "abc"}, {"model": "nobody"}, {"logit_bias": {"10000000": 1}}, {"guided_regex": "("})

    def ask(fields: dict[str, object]) -> tuple[float, str]:
        begun = time.perf_counter()
        found = whole_answer(port, request_bytes(port, **{"model": "letters", **fields}))
        return 1e3 * (time.perf_counter() - begun), found

    def one_round(number: int, with_bad: bool) -> tuple[list[float], list[str]]:
        jobs = [{"messages": [{"role": "user", "content": "abc"[i % 3] * (1 + i % 7)}]} for i in range(good)]
        with ThreadPoolExecutor(concurrency + 1) as pool:
            wrong = [pool.submit(ask, bad[number % len(bad)])] if with_bad else []
            found = list(pool.map(ask, jobs))
            for future in wrong:
                future.result()
        return [ms for ms, _ in found], [text for _, text in found]

    with process(*python(LETTERS, str(port)), port=port):
        one_round(0, True)
        alone, disturbed, same = [], [], True
        right = one_round(0, False)[1]
        for number in range(rounds):
            for times, with_bad in ((alone, False), (disturbed, True)):
                took, texts = one_round(number, with_bad)
                times += took
                same = same and texts == right
    slow = [sorted(times)[int(0.99 * len(times))] for times in (alone, disturbed)]
    middle = [statistics.median(times) for times in (alone, disturbed)]
    print(
        f"beside a bad request: answers {'the same' if same else 'CHANGED'} in {rounds} rounds of {good}; median"
        f" {middle[0]:.1f} -> {middle[1]:.1f} ms, p99 {slow[0]:.1f} -> {slow[1]:.1f} ms"
        f" ({slow[1] / slow[0]:.2f} x, goal at most 2)"
    )


def whole_answer(port: int, data: bytes) -> str:
    """The text of an answer, "" for one that is an error."""
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.sendall(data.replace(b"content-type", b"connection: close\r\ncontent-type", 1))
        found = b""
        while part := opened.recv(65536):
            found += part
    body = json.loads(found.partition(b"\r\n\r\n")[2])
    return str(body["choices"][0]["message"]["content"]) if "choices" in body else ""


def batching(requests: int = 32, seconds: float = 5.0) -> None:
    sys.path.insert(0, str(HERE))
    import decode
    import torch

    from consort.core.types import Sampling
    from consort.server.scheduler.scheduler import Scheduler

    model = decode.model(0)
    draws = torch.Generator().manual_seed(0)
    lengths = torch.randint(64, 257, (requests,), generator=draws).tolist()
    letters = decode.TOKENIZER.alphabet
    starts = torch.randint(0, 4000, (requests,), generator=draws).tolist()
    prompts = ["".join(letters[(start + 97 * i) % 4095] for i in range(48)) for start in starts]
    jobs = [(prompt, Sampling(max_tokens=length)) for prompt, length in zip(prompts, lengths, strict=True)]
    model.generate([prompts[0]], Sampling(max_tokens=8))
    begun, cpu = time.perf_counter(), time.process_time()
    alone = [model.generate([prompt], sampling)[0] for prompt, sampling in jobs]
    one_at_a_time = sum(len(one.tokens) for one in alone) / (time.perf_counter() - begun)
    cpu_alone = time.process_time() - cpu
    scheduler = Scheduler()
    scheduler.start()
    found: list[object] = [None] * requests

    def ask(number: int) -> None:
        time.sleep(seconds * number / requests)
        found[number] = scheduler.generate(model, [jobs[number][0]], jobs[number][1])[0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(requests)]
    begun, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent, cpu_together = time.perf_counter() - begun, time.process_time() - cpu
    scheduler.close()
    together = sum(len(one.tokens) for one in found) / spent  # type: ignore[attr-defined]
    same = sum(a.tokens == b.tokens for a, b in zip(alone, found, strict=True))  # type: ignore[attr-defined]
    print(
        f"batching: {together:.0f} tokens/s against {one_at_a_time:.0f} one at a time"
        f" ({together / one_at_a_time:.2f} x, goal 3 x); {same} of {requests} answers identical;"
        f" CPU seconds {cpu_together:.1f} against {cpu_alone:.1f} ({cpu_alone / cpu_together:.2f} x)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["overhead", "stream", "load", "beside", "batching", []])
    parser.add_argument("--requests", type=int, default=300_000)
    parser.add_argument("--litellm", help="an environment (a folder with bin/litellm)")
    given = parser.parse_args()
    parts = given.parts or ["overhead", "stream", "load", "beside", "batching"]
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if "overhead" in parts:
        overhead(given.litellm)
    if "stream" in parts:
        stream()
    if "load" in parts:
        load(given.requests)
    if "beside" in parts:
        beside()
    if "batching" in parts:
        batching()


if __name__ == "__main__":
    main()
