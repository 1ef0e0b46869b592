"""Several processes on one socket, for plans whose members are all remote; one that dies is replaced."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from consort.core.errors import BadParameter, ConsortError, Unsupported
from consort.plan.expression import Call, Part, Reference, read_plan
from consort.plan.references import has_weights
from consort.server.run import Server
from consort.server.source import split_source

LEAST_S = 2.0
"""A worker that dies sooner than this after its start is not replaced at once."""


def check_remote(server: Server) -> None:
    """Raise BadParameter for a plan with weights: each process would hold them, and batch by itself."""
    for source in server.sources:
        for reference in references(read_plan(split_source(source)[1]).root):
            if has_weights(reference):
                hint = "one process serves local weights; several servers may stand behind a balancer"
                raise BadParameter(f"{reference} has weights", field="--workers", hint=hint)


def references(node: Any) -> list[str]:
    """The references of all models in an expression."""
    if isinstance(node, Reference):
        return [node.text, *([node.base] if node.base else [])]
    if isinstance(node, Call):
        return [text for value in node.arguments.values() for text in references(value)]
    if isinstance(node, Part):
        return references(node.model)
    return [text for part in node for text in references(part)] if isinstance(node, tuple) else []


def run_workers(server: Server, count: int) -> None:
    """Serve by `count` processes until stopped; SIGHUP is handed on. Raises ConsortError as `Server.prepare`."""
    if not hasattr(os, "fork"):
        raise Unsupported("needs a system that can fork", field="--workers")
    check_remote(server)
    server.prepare()
    server.release()
    workers = {_fork(server): time.monotonic() for _ in range(count)}
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        _tell(workers, signal.SIGTERM)

    before = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGTERM, stop),
            (signal.SIGINT, stop),
            (signal.SIGHUP, lambda *_: _tell(workers, signal.SIGHUP)),
        )
    }
    try:
        _watch(workers, lambda: stopping, lambda: _fork(server))
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _watch(workers: dict[int, float], stopping: Callable[[], bool], start: Callable[[], int]) -> None:
    """Replace workers that die until all have been stopped. Raises ConsortError where none can start."""
    while workers:
        died, status = os.wait()  # begins again by itself after a signal
        begun = workers.pop(died, None)
        if begun is None or stopping():
            continue
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 2:
            _tell(workers, signal.SIGTERM)
            raise ConsortError("a worker could not start; what it said stands above", field="--workers")
        if time.monotonic() - begun < LEAST_S:
            time.sleep(1)
        workers[start()] = time.monotonic()


def _fork(server: Server) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        server.prepare()
        server.run()
        code = 0
    except ConsortError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    finally:
        sys.stderr.flush()
        os._exit(code)


def _tell(workers: dict[int, float], number: int) -> None:
    for pid in list(workers):
        with suppress(ProcessLookupError):  # it has ended: `_watch` sees that and says what is to be said
            os.kill(pid, number)
