"""Run a small federation in children of this process that are killed at their n-th moment, then finished; JSON out.

    python kill_script.py here FOLDER MOMENT...
    python kill_script.py http FOLDER MOMENT...

A moment is a client's fit, a file that is about to get its name (an upload, a state, what a client remembers), a line
of the journal, or an aggregation. Over HTTP the moments of the server and of one client are counted by themselves.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import torch
from conftest import Quadratic

import consort.core.files as files
from consort.core.journal import Journal
from consort.federate import Federation
from consort.federate.aggregation import Aggregator
from consort.federate.clients.client import ClientMemory, LocalClient
from consort.federate.http.hub import Hub
from consort.federate.http.joining import Joined
from consort.federate.rounds import Rounds

START = {"w": torch.zeros(6), "b": torch.ones(2, 3)}
NAMES = ("c0", "c1", "c2")
TOKENS = {name: f"token-of-{name}-0123456789" for name in NAMES}
ROUNDS = 4


def die_at(moment: int) -> None:
    """From now on count moments, and end this process by SIGKILL at the given one."""
    count = 0

    def counted(owner, name):
        inner = getattr(owner, name)

        def outer(*arguments, **named):
            nonlocal count
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*arguments, **named)

        setattr(owner, name, outer)

    counted(LocalClient, "fit")
    counted(files.os, "replace")
    counted(Journal, "append")
    counted(Aggregator, "__call__")


def clients(folder: Path) -> list[LocalClient]:
    return [
        LocalClient(name, Quadratic(1 + i, i / 2, samples=i + 1), ClientMemory(folder / "memory" / name))
        for i, name in enumerate(NAMES)
    ]


def federation(folder: Path, own, workers: int = 1) -> str:
    return Federation(START, own, "scaffold", Rounds(rounds=ROUNDS, workers=workers), folder / "run").run().hash


def child(work) -> int:
    """The process that does it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as fault:
        print(f"{type(fault).__name__}: {fault}", file=sys.stderr)
        os._exit(1)


def killed_here(folder: Path, moment: int) -> str:
    def work():
        die_at(moment)
        federation(folder, clients(folder))

    os.waitpid(child(work), 0)
    return federation(folder, clients(folder))


def killed_over_http(folder: Path, moment: int) -> str:
    """Even moments count in the server, odd ones in the first client; whoever dies is started once more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = folder / "hash"

    def serve(at: int):
        die_at(at)
        with Hub(TOKENS, folder / "in", {}, port=port, deadline_s=60) as hub:
            found = federation(folder, hub.clients, workers=3)
            hub.farewell()
        answer.write_text(found)

    def join(client, at: int):
        die_at(at)
        with Joined(f"http://127.0.0.1:{port}", TOKENS[client.id], patience_s=60) as joined:
            joined.work(client, pause_s=0.02)

    own = clients(folder)
    works = {child(lambda: serve(moment // 2 if moment % 2 == 0 else -1)): lambda: serve(-1)}
    for i, client in enumerate(own):
        at = moment // 2 + 1 if moment % 2 and i == 0 else -1
        works[child(lambda client=client, at=at: join(client, at))] = lambda client=client: join(client, -1)
    end = time.monotonic() + 120
    while not answer.exists() and time.monotonic() < end:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid and os.WIFSIGNALED(status):
            again = works.pop(pid)
            works[child(again)] = again
        time.sleep(0.02)
    for pid in works:
        try:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
    return answer.read_text()


if __name__ == "__main__":
    torch.set_num_threads(1)
    way = {"here": killed_here, "http": killed_over_http}[sys.argv[1]]
    found = []
    for text in sys.argv[3:]:
        place = Path(sys.argv[2]) / text
        place.mkdir(parents=True)
        found.append(way(place, int(text)))
    print(json.dumps(found))
