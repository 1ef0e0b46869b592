"""A server of every strategy over models of the lab, for minutes: good, bad, streamed and abandoned requests together.

    python benchmarks/soak.py [--minutes 10] [--clients 4] [--seed 0]

Asserts that no answer is a 5xx, that each strategy answers, that bad requests are 4xx, and that the server holds no
more memory, files and threads at the end than at half time. Prints JSON; exit code 1 where that fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

WORDS = ("mirror: a b c =", "order: c a b =", "shout: hi =", "what is 3 plus 4", "spell the word abc")
MODELS = ("mirror", "order", "shout")
TEMPERATURES = {"ensemble.mixture_ensemble": 1, "ensemble.abe": 0}
"""Strategies that refuse another: one draws which member speaks, one searches."""
GROWTH_MB, FILES, THREADS = 48, 4, 4
"""What the server may hold more at the end than at half time."""
PARTS = 20
BAD: tuple[dict[str, Any], ...] = (
    {"max_tokens": -1},
    {"max_tokens": "abc"},
    {"temperature": 1e9},
    {"top_p": 2},
    {"n": 10**6},
    {"messages": []},
    {"messages": [{"role": "wizard", "content": "a"}]},
    {"messages": [{"role": "user", "content": "long " * 20_000}]},
    {"logit_bias": {"99999999": 1}},
    {"model": "nobody"},
    {"base_url": "http://169.254.169.254"},
)


def strategies() -> tuple[dict[str, Any], dict[str, str]]:
    """Every registered strategy over models, made over models of the lab; and why some could not be made."""
    import consort as c
    from consort.core.errors import ConsortError
    from consort.testing.built import built
    from consort.testing.built import strategies as registered
    from consort.testing.planned import planned

    models = [c.model(f"lab:{name}") for name in MODELS]
    made: dict[str, Any] = dict(zip(MODELS, models, strict=True))
    left: dict[str, str] = {}
    for name, registry in registered().items():
        is_of_models = any(p.type == "model" for p in registry.entry(name).params)
        try:
            one = built(registry, name, models) if is_of_models else planned(registry, name)
            made[f"{registry.kind}.{name}"] = one
        except ConsortError as error:
            left[f"{registry.kind}.{name}"] = str(error)
    return made, left


def serve() -> None:
    """The server's process: says its address and what it could not make, then serves."""
    from consort.server.run import Server

    made, left = strategies()
    server = Server(models=made, port=0, queue=256)
    server.prepare()
    print(json.dumps({"url": server.url, "models": list(made), "left": left}), flush=True)
    server.run()


class Load:
    """Clients that ask at random until time is over; what came back is counted."""

    def __init__(self, url: str, models: list[str], seed: int) -> None:
        self.url, self.models, self.seed = url, models, seed
        self.counts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.faults: list[str] = []
        self.over = threading.Event()

    def client(self, number: int) -> None:
        """One client's work."""
        draw = random.Random(f"{self.seed} {number}")
        kinds = (self.plain, self.plain, self.streamed, self.streamed, self.bad, self.abandoned, self.given_up)
        with httpx.Client(base_url=self.url, timeout=600) as client:
            turn = draw.sample(self.models, len(self.models))
            while not self.over.is_set():
                model = turn.pop() if turn else draw.choice(self.models)
                act = draw.choice(kinds)
                try:
                    act(client, model, draw)
                except Exception as error:
                    self.faults.append(f"{model} {act.__name__}: {type(error).__name__}: {error}")
                self.counts[act.__name__] += 1

    def body(self, model: str, draw: random.Random, **fields: Any) -> dict[str, Any]:
        """A request as it should be."""
        asked = [{"role": "user", "content": draw.choice(WORDS)}]
        temperature = TEMPERATURES.get(model, draw.choice((0, 1)))
        plain = {"model": model, "messages": asked, "max_tokens": 6, "temperature": temperature, "seed": 1}
        return {**plain, **fields}

    def post(self, client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
        return client.post("/v1/chat/completions", json=body)

    def expect(self, is_right: bool, model: str, answer: httpx.Response) -> None:
        """Count an answer; keep what is wrong with it."""
        self.counts[str(answer.status_code)] += 1
        if not is_right:
            self.faults.append(f"{model}: {answer.status_code} {answer.text[:200]}")

    def plain(self, client: httpx.Client, model: str, draw: random.Random) -> None:
        answer = self.post(client, self.body(model, draw))
        self.expect(answer.status_code in (200, 429), model, answer)
        self.answered[model] += answer.status_code == 200

    def streamed(self, client: httpx.Client, model: str, draw: random.Random) -> None:
        answer = self.post(client, self.body(model, draw, stream=True))
        is_whole = answer.status_code == 429 or (answer.status_code == 200 and "[DONE]" in answer.text)
        self.expect(is_whole and '"error"' not in answer.text or answer.status_code == 429, model, answer)
        self.answered[model] += answer.status_code == 200

    def bad(self, client: httpx.Client, model: str, draw: random.Random) -> None:
        answer = self.post(client, {**self.body(model, draw), **draw.choice(BAD)})
        self.expect(400 <= answer.status_code < 500, model, answer)

    def abandoned(self, client: httpx.Client, model: str, draw: random.Random) -> None:
        """A stream that is left after its first piece."""
        body = self.body(model, draw, stream=True, max_tokens=200)
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            for _ in answer.iter_lines():
                break
            self.counts[str(answer.status_code)] += 1
            if answer.status_code >= 500:
                self.faults.append(f"{model}: {answer.status_code} abandoned")

    def given_up(self, client: httpx.Client, model: str, draw: random.Random) -> None:
        """A request whose client does not wait."""
        try:
            body = self.body(model, draw, max_tokens=200)
            answer = client.post("/v1/chat/completions", json=body, timeout=httpx.Timeout(30, read=0.1))
            self.expect(answer.status_code < 500, model, answer)
        except httpx.ReadTimeout:
            self.counts["left"] += 1


def held(process: int) -> dict[str, int]:
    """Memory in MB, open files and threads of a process."""
    about = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (about / "status").read_text().splitlines())
    return {
        "mb": int(status["VmRSS"].split()[0]) >> 10,
        "files": len(os.listdir(about / "fd")),
        "threads": int(status["Threads"]),
    }


def soak(seconds: float, clients: int, seed: int) -> dict[str, Any]:
    """Serve and ask for some seconds; the report."""
    command = [sys.executable, __file__, "serve"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        load = Load(told["url"], told["models"], seed)
        try:
            wait_until_up(told["url"])
            return {"left": told["left"], **loaded(load, process.pid, seconds, clients)}
        finally:
            process.terminate()


def wait_until_up(url: str) -> None:
    """Until the server is ready."""
    while httpx.get(f"{url}/ready", timeout=600).status_code != 200:
        time.sleep(0.2)


def loaded(load: Load, process: int, seconds: float, clients: int) -> dict[str, Any]:
    """Ask with some clients; what the server holds meanwhile and, when all is quiet, at the end."""
    threads = [threading.Thread(target=load.client, args=(number,)) for number in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    samples: list[dict[str, int]] = []
    while time.monotonic() - begun < seconds:
        time.sleep(seconds / PARTS)
        samples.append(held(process))
    load.over.set()
    for thread in threads:
        thread.join()
    time.sleep(3)
    end = held(process)
    return {
        "seconds": round(time.monotonic() - begun),
        "models": len(load.models),
        "unanswered": sorted(set(load.models) - set(load.answered)),
        "counts": dict(sorted(load.counts.items())),
        "mb": [sample["mb"] for sample in samples],
        "warm": samples[len(samples) // 2],
        "end": end,
        "faults": load.faults[:20] + ([f"and {len(load.faults) - 20} more"] if len(load.faults) > 20 else []),
    }


def failed(report: dict[str, Any], *, measured: bool = True) -> list[str]:
    """What is not as it should be."""
    wrong = [*report["faults"]]
    wrong += [f"{code}: {n}" for code, n in report["counts"].items() if code.startswith("5")]
    for key, more in (("mb", GROWTH_MB), ("files", FILES), ("threads", THREADS)) if measured else ():
        if report["end"][key] > report["warm"][key] + more:
            wrong.append(f"{key}: {report['warm'][key]}, then {report['end'][key]}")
    return wrong + ([f"no answer of {', '.join(report['unanswered'])}"] if report["unanswered"] else [])


def main() -> int:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="soak", choices=("soak", "serve"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "serve":
        serve()
        return 0
    report = soak(60 * given.minutes, given.clients, given.seed)
    print(json.dumps({**report, "wrong": failed(report)}, indent=1))
    return int(bool(failed(report)))


if __name__ == "__main__":
    sys.exit(main())
