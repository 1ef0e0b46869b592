"""An endpoint that misbehaves in the way that the model's name says, over raw sockets on the loopback interface."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

KEY = "sk-CANARY-0123456789"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TOLD = {"tokens": [" one", " two"], "token_logprobs": [-0.5, -0.25]}
TEXT, LOGPROB = " one two", -0.75


@dataclass
class Ask:
    """A request: which of its model's it is (from 0), its path, body, and the socket to answer on."""

    sock: socket.socket
    number: int
    path: str
    body: dict[str, Any]
    ended: threading.Event

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self, content: Any, status: int = 200, headers: dict[str, str] | None = None, reason: str = "X") -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.head(status, {"content-length": str(len(raw)), **(headers or {})}, reason)
        self.send(raw)

    def head(self, status: int = 200, headers: dict[str, str] | None = None, reason: str = "X") -> None:
        lines = [f"HTTP/1.1 {status} {reason}", "connection: close", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def error(self, status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        self.reply({"error": {"message": message, **more}}, status, headers)

    def drip(self, data: bytes) -> None:
        """The same bytes again and again, until the other side has gone."""
        while not self.ended.wait(0.02):
            self.send(data)

    @property
    def is_chat(self) -> bool:
        return "messages" in self.body


Play = Callable[[Ask], None]


def choice(text: str = TEXT, ask: Ask | None = None, **more: Any) -> dict[str, Any]:
    """A choice in the form of the request."""
    told = more.pop("logprobs", TOLD if text == TEXT else None)
    if ask is None or not ask.is_chat:
        return {"index": 0, "text": text, "finish_reason": "stop", "logprobs": told, **more}
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}


def answer(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"choices": list(choices), "usage": USAGE, **more}


def good(ask: Ask) -> None:
    if ask.body.get("stream"):
        streamed(ask, [piece(" one"), piece(" two", "stop"), {"choices": [], "usage": USAGE}, "[DONE]"])
    else:
        ask.reply(answer(choice(ask=ask)))


def piece(text: str, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}], **more}


def event(item: Any) -> bytes:
    said = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
    return b"data: " + said.encode() + b"\n\n"


def streamed(ask: Ask, items: list[Any]) -> None:
    ask.head(headers={"content-type": "text/event-stream"})
    for item in items:
        ask.send(item if isinstance(item, bytes) else event(item))


def after(count: int, first: Play, then: Play = good) -> Play:
    """The first `count` requests are answered by one, the rest by the other."""
    return lambda ask: first(ask) if ask.number < count else then(ask)


def unless(option: str, first: Play, then: Play = good) -> Play:
    """Requests with the option are answered by one, the rest by the other."""
    return lambda ask: first(ask) if option in ask.body else then(ask)


def hang(ask: Ask) -> None:
    ask.ended.wait(20)


def headers_that_drip(ask: Ask) -> None:
    ask.send(b"HTTP/1.1 200 OK\r\n")
    ask.drip(b"x-a: b\r\n")


def body_that_drips(ask: Ask) -> None:
    ask.head(headers={"content-length": "100000000"})
    ask.drip(b" ")


def huge(ask: Ask) -> None:
    ask.head()
    for _ in range(80):
        ask.send(b" " * 2**20)


@cache
def bomb() -> bytes:
    return gzip.compress(b" " * (2**26 + 2**20), 1)


def gzip_bomb(ask: Ask) -> None:
    ask.reply(bomb(), headers={"content-encoding": "gzip"})


def without_completions(status: int) -> Play:
    return lambda ask: good(ask) if ask.is_chat else ask.reply(b"nothing", status)


def long_line(ask: Ask) -> None:
    ask.head(headers={"content-type": "text/event-stream"})
    for _ in range(400):
        ask.send(b"x" * 2**20)


def keeps_alive(*items: Any) -> Play:
    def play(ask: Ask) -> None:
        streamed(ask, list(items))
        ask.drip(b": keep-alive\n\n")

    return play


def endless(ask: Ask) -> None:
    streamed(ask, [])
    ask.drip(event(piece("a")))


def echo(spelled: list[str], values: list[float | None], text: str | None = None, **more: Any) -> Play:
    """An echo of what is `spelled` with their log-probabilities."""
    told = {"tokens": spelled, "token_logprobs": values, **more}
    told = {key: value for key, value in told.items() if value is not None}
    return lambda ask: ask.reply(answer(choice("".join(spelled) if text is None else text, logprobs=told)))


class Misbehaving:
    """Plays `plays[model]` for every request; counts them in `seen`."""

    def __init__(self, plays: dict[str, Play]) -> None:
        self.plays, self.seen, self.ended = plays, Counter[str](), threading.Event()
        self.keys: set[str] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.ended.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            head, _, rest = b"", b"", b""
            while b"\r\n\r\n" not in head:
                more = sock.recv(65536)
                if not more:
                    return
                head += more
            head, _, rest = head.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
            while len(rest) < int(fields["content-length"]):
                rest += sock.recv(65536)
            body = json.loads(rest)
            number = self.seen[body["model"]]
            self.seen[body["model"]] += 1
            self.keys.add(fields.get("authorization", ""))
            self.plays[body["model"]](Ask(sock, number, head.split()[1].decode(), body, self.ended))
            sock.shutdown(socket.SHUT_WR)


@contextmanager
def misbehaving(plays: dict[str, Play]) -> Iterator[Misbehaving]:
    server = Misbehaving(plays)
    try:
        yield server
    finally:
        server.close()


def brief(seconds: float) -> None:
    """A pause between tries that tests can afford."""
    time.sleep(min(seconds, 0.01))
