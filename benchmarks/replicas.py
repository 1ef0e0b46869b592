"""One model at 1, 2 and 4 addresses: how much faster prompts are answered, and what the loss of one address costs.

    python benchmarks/replicas.py [--prompts 240] [--latency-ms 50] [--concurrency 2]

Each replica is a process of its own that answers after `latency-ms` and takes `concurrency` requests at a time, as an
engine takes a batch: what several replicas give is then theirs and not the client's. Printed are prompts a second by
`generate` (threads) and by `answers` (one event loop), their ratio to one replica, the client's processor time, and
what became of the prompts where one of four replicas is killed in the middle.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from consort.models import Replicas, remote_model

REPLICA = """
import asyncio, json, sys
latency_s, room = float(sys.argv[1]), asyncio.Semaphore(int(sys.argv[2]))

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            lines = head.lower().split(b"\\r\\n")
            length = next(int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length"))
            asked = json.loads(await reader.readexactly(length))
            async with room:
                await asyncio.sleep(latency_s)
            said = json.dumps({"model": asked["model"], "choices": [{"index": 0, "text": "to " + asked["prompt"],
                "finish_reason": "stop"}], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}).encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(said) + said)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def replicas(count: int, latency_ms: float, concurrency: int) -> Iterator[tuple[list[subprocess.Popen[str]], str]]:
    """Processes, and the reference that names them all."""
    command = [sys.executable, "-c", REPLICA, str(latency_ms / 1000), str(concurrency)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        ports = [int(process.stdout.readline()) for process in running if process.stdout]
        addresses = ",".join(f"http://127.0.0.1:{port}/v1" for port in ports)
        yield running, f"openai:m@{addresses}?concurrency={concurrency}"
    finally:
        for process in running:
            process.kill()
            process.wait()


def blocking(model: Any, prompts: list[str]) -> list[Any]:
    return list(model.generate(prompts))


def awaited(model: Any, prompts: list[str]) -> list[Any]:
    async def ask() -> list[Any]:
        found = await model.answers(prompts)
        await model.leave()
        return list(found)

    return asyncio.run(ask())


def measured(way: Callable[[Any, list[str]], list[Any]], reference: str, prompts: list[str]) -> tuple[float, float]:
    """Seconds, and seconds of processor time, after a first prompt that makes the connections."""
    model = remote_model(reference)
    model.generate(prompts[:1])
    begun, spent = time.perf_counter(), time.process_time()
    found = way(model, prompts)
    taken = time.perf_counter() - begun, time.process_time() - spent
    if [answer.text for answer in found] != [f"to {prompt}" for prompt in prompts]:
        raise SystemExit("answers are missing or out of order")
    return taken


def scaling(prompts: list[str], latency_ms: float, concurrency: int) -> None:
    for way in (blocking, awaited):
        alone = 0.0
        for count in (1, 2, 4):
            with replicas(count, latency_ms, concurrency) as (_, reference):
                seconds, spent = measured(way, reference, prompts)
            alone = alone or seconds
            rate, ideal = len(prompts) / seconds, count * concurrency * 1000 / latency_ms
            print(
                f"{way.__name__:<9} {count} replicas: {rate:6.1f} prompts/s ({rate / ideal:.0%} of their own), "
                f"{alone / seconds:.2f}x, {spent * 1000 / len(prompts):.2f} ms of processor a prompt"
            )


def loss(prompts: list[str], latency_ms: float, concurrency: int) -> None:
    with replicas(4, latency_ms, concurrency) as (running, reference):
        model = remote_model(reference)
        if not isinstance(model, Replicas):
            raise TypeError(reference)
        half_s = len(prompts) * latency_ms / 1000 / (4 * concurrency) / 2
        threading.Timer(half_s, running[2].kill).start()
        begun = time.perf_counter()
        found = model.generate(prompts)
        seconds = time.perf_counter() - begun
    texts = [answer.text for answer in found]
    right = sum(text == f"to {prompt}" for text, prompt in zip(texts, prompts, strict=True))
    print(
        f"one of 4 killed after {half_s:.2f} s: {right} of {len(prompts)} answers right and in order, "
        f"{len(texts) - len(set(texts))} doubled, {seconds:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=240)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--concurrency", type=int, default=2)
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    prompts = [f"number {i}" for i in range(given.prompts)]
    scaling(prompts, given.latency_ms, given.concurrency)
    loss(prompts, given.latency_ms, given.concurrency)


if __name__ == "__main__":
    main()
