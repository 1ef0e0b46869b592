"""One client's place on the server: the task it has, the parts of its answer, and what it did wrong."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from consort.core.errors import BadData
from consort.federate.gathering import LATE
from consort.federate.http.limits import PART, Limits
from consort.federate.wire import Message, read_message


class Refused(Exception):
    """A request that is answered with an HTTP status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class Mailbox:
    """Tasks out, answers in; used by the threads of the server and by the one that waits for the answer."""

    def __init__(self, id: str, folder: Path, limits: Limits) -> None:
        self.id, self.folder, self.limits = id, folder, limits
        self.lock, self.turn = threading.Lock(), threading.Lock()
        self.task = ""
        self.content = b""
        self.received, self.parts, self.last = 0, 0, ""
        self.fault: str | None = None
        self.done = threading.Event()
        self.left: list[str] = []
        self.seen, self.told = False, False

    @property
    def incoming(self) -> Path:
        return self.folder / f"{self.id}.part"

    def ask(self, message: Message, deadline_s: float | None) -> Message:
        """Give a task and wait for its answer. Raises BadData where none comes that can be used."""
        with self.turn:
            return self._asked(message, deadline_s)

    def _asked(self, message: Message, deadline_s: float | None) -> Message:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock:
            self.content = message.packed()
            self.task = digest_of(f"{message.kind} {message.meta.get('stamp', '')}".encode() + self.content[:1024])
            self._restart()
            self.fault = None
            self.done.clear()
        came = self.done.wait(deadline_s)
        with self.lock:
            self.task, self.content = "", b""
            if self.fault is not None:
                raise BadData(self.fault, field=self.id, hint="it is left out of this round")
            if not came:
                why = f"{LATE} ({'; '.join(self.left)})" if self.left else LATE
                self.left.clear()
                raise BadData(why, field=self.id, hint="it is left out of this round")
            whole = self.folder / f"{self.id}.safetensors"
            self.incoming.replace(whole)
        return read_message(whole)

    def _restart(self) -> None:
        self.received, self.parts, self.last = 0, 0, ""
        self.incoming.unlink(missing_ok=True)

    @property
    def most(self) -> int:
        return self.limits.most_bytes or 4 * len(self.content) + 2**20

    def expect(self, task: str, part: int, size: int) -> None:
        """Before a part is read: is it the next one, and small enough? Raises Refused, and what is a lie counts."""
        with self.lock:
            if task != self.task or self.done.is_set():
                self.left.append("answered a task that is over: a replay")
                raise Refused(409, "this task is over")
            if size > PART:
                raise self._lie(413, f"sends {size:,} bytes at once, more than {PART:,}")
            if part == 0 and self.parts:
                self._restart()
            if part not in (self.parts, self.parts - 1):
                raise Refused(409, f"part {self.parts} comes next")
            if self.received + size > self.most:
                raise self._lie(413, f"sends more than {self.most:,} bytes")

    def take(self, task: str, part: int, content: bytes, digest: str) -> None:
        """One part; the last one may be sent again."""
        with self.lock:
            if task != self.task or self.done.is_set():
                raise Refused(409, "this task is over")
            if digest_of(content) != digest:
                raise Refused(400, "the part was damaged on its way; send it again")
            if part == self.parts - 1 and digest == self.last:
                return
            if part != self.parts:
                raise Refused(409, f"part {self.parts} comes next")
            with open(self.incoming, "ab") as file:
                file.write(content)
            self.received, self.parts, self.last = self.received + len(content), part + 1, digest

    def finish(self, task: str, parts: int, size: int) -> None:
        """All parts are there: the answer counts."""
        with self.lock:
            if task != self.task or self.done.is_set():
                raise Refused(409, "this task is over")
            if (parts, size) != (self.parts, self.received):
                raise Refused(409, f"{self.parts} parts of {self.received} bytes have come; begin again with part 0")
            self.done.set()

    def lied(self, reason: str) -> None:
        """The client is left out of the round for this."""
        with self.lock:
            self._lie(400, reason)

    def _lie(self, status: int, reason: str) -> Refused:
        if self.task and not self.done.is_set():
            self.fault = reason
            self.done.set()
        return Refused(status, reason)
