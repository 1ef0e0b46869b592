"""The server of a federation over HTTP: clients come and ask for work; loopback and tokens by default.

    GET  /v1/plan            what is trained, and who the token says one is
    GET  /v1/task            the task one has: {task, parts, bytes}, or none yet, or done
    GET  /v1/task/ID/PART    a part of it
    PUT  /v1/answer/ID/PART  a part of the answer, its digest in X-Digest
    POST /v1/answer/ID       {parts, bytes}: that was all

Every request carries `Authorization: Bearer TOKEN`. A request that takes too long is cut off; bodies are read only up
to what a part may have.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from consort.core.errors import BadParameter, EnvironmentFailure
from consort.core.visible import visible
from consort.federate.clients.client import RoundTask
from consort.federate.http.limits import PART, Limits
from consort.federate.http.mailbox import Mailbox, Refused
from consort.federate.state import State, Update
from consort.federate.wire import Message, task_message, update_of

logger = logging.getLogger(__name__)


class RemoteClient:
    """A client behind the server: whoever has its token."""

    def __init__(self, mailbox: Mailbox, deadline_s: float | None) -> None:
        self.mailbox, self.deadline_s = mailbox, deadline_s
        self.id = mailbox.id

    def exchange(self, message: Message) -> Message:
        return self.mailbox.ask(message, self.deadline_s)

    def fit(self, state: State, task: RoundTask) -> Update:
        return update_of(self.exchange(task_message(state, task)), task.stamp)


class Hub:
    """Serves the tasks of a federation to those who have a token. `tokens` are the clients' by name."""

    def __init__(
        self,
        tokens: Mapping[str, str],
        folder: Path,
        plan: Mapping[str, Any],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Path | None = None,
        key: Path | None = None,
        limits: Limits = Limits(),
        deadline_s: float | None = None,
    ) -> None:
        """Raises BadParameter for an address that others can reach without TLS, or for weak tokens."""
        if certificate is None and not _is_loopback(host):
            hint = "give certificate and key, or serve on 127.0.0.1 behind a proxy that has them"
            raise BadParameter("others could read what is sent to this address", field=f"host {host}", hint=hint)
        for name, token in tokens.items():
            if len(token) < 16 or sum(other == token for other in tokens.values()) > 1:
                hint = "python -c 'import secrets; print(secrets.token_urlsafe())'"
                raise BadParameter("has a token that is short, or another's", field=name, hint=hint)
        self.plan, self.limits = dict(plan), limits
        self.boxes = {name: Mailbox(name, folder, limits) for name in sorted(tokens)}
        self.clients = [RemoteClient(box, deadline_s) for box in self.boxes.values()]
        self._digests = {name: hashlib.sha256(token.encode()).digest() for name, token in tokens.items()}
        self.is_done = threading.Event()
        self.strangers: list[str] = []
        self._server = _open(self, host, port, certificate, key)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        scheme = "https" if isinstance(self._server.socket, ssl.SSLSocket) else "http"
        host, port = self._server.server_address[:2]
        return f"{scheme}://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def farewell(self, wait_s: float = 3.0) -> None:
        """Tell the clients that come that all is done, until each has heard or the time is over."""
        self.is_done.set()
        end = time.monotonic() + wait_s
        while time.monotonic() < end and any(box.seen and not box.told for box in self.boxes.values()):
            time.sleep(0.05)

    def close(self) -> None:
        self.is_done.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Hub:
        self.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def who(self, header: str, says: str, where: str) -> Mailbox:
        """The client whose token this is; every token is compared, in constant time. Raises Refused."""
        given = hashlib.sha256(header.removeprefix("Bearer ").encode()).digest()
        found = [name for name, digest in self._digests.items() if hmac.compare_digest(digest, given)]
        if not found or not header.startswith("Bearer "):
            stranger = f"{visible(says[:64]) or 'somebody'} at {where}: wrong token"
            if stranger not in self.strangers and len(self.strangers) < 100:
                self.strangers.append(stranger)
                logger.warning("%s", stranger)
            raise Refused(401, "wrong token")
        return self.boxes[found[0]]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _open(hub: Hub, host: str, port: int, certificate: Path | None, key: Path | None) -> ThreadingHTTPServer:
    class Handler(_Handler):
        owner = hub
        timeout = hub.limits.request_s

    try:
        server = _Server((host, port), Handler, hub.limits)
    except OSError as error:
        what = error.strerror or str(error)
        raise BadParameter(what.lower(), field=f"address {host}:{port}", hint="choose another port") from None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            server.server_close()
            raise EnvironmentFailure(
                str(error), field=str(certificate), hint="give a PEM certificate and key"
            ) from None
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], limits: Limits) -> None:
        self.slots = threading.BoundedSemaphore(limits.connections)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the other side's matter."""
        logger.debug("a connection of %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    owner: Hub
    server_version, sys_version = "consort", ""

    def setup(self) -> None:
        super().setup()
        self._is_cut = False
        self._clock = threading.Timer(self.owner.limits.request_s, self._cut)
        self._clock.daemon = True
        self._clock.start()

    def _cut(self) -> None:
        self._is_cut = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        self._clock.cancel()
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *values: Any) -> None:
        """Requests are not logged."""

    def do_GET(self) -> None:
        self._answer({"plan": self._plan, "task": self._task})

    def do_PUT(self) -> None:
        self._answer({"answer": self._part})

    def do_POST(self) -> None:
        self._answer({"answer": self._whole})

    def _answer(self, routes: Mapping[str, Callable[[Mailbox, list[str]], bytes]]) -> None:
        try:
            box = self.owner.who(
                self.headers.get("Authorization", ""), self.headers.get("X-Client", ""), str(self.client_address[0])
            )
            root, version, name, *rest = [*self.path.split("/"), "", ""]
            if root or version != "v1" or name not in routes:
                raise Refused(404, "there is nothing here")
            self._send(200, routes[name](box, [part for part in rest if part]))
        except Refused as refused:
            self.close_connection = True
            self._send(refused.status, json.dumps({"error": refused.reason}).encode())
        except OSError:
            self.close_connection = True

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def _plan(self, box: Mailbox, rest: list[str]) -> bytes:
        return json.dumps({"client": box.id, "plan": self.owner.plan}).encode()

    def _task(self, box: Mailbox, rest: list[str]) -> bytes:
        with box.lock:
            task, content, waits = box.task, box.content, not box.done.is_set()
        if not rest:
            parts = -(-len(content) // PART)
            given = {"task": task, "parts": parts, "bytes": len(content)} if task and waits else {"task": None}
            box.seen, box.told = True, self.owner.is_done.is_set()
            return json.dumps(given | {"done": box.told}).encode()
        if len(rest) != 2 or rest[0] != task:
            raise Refused(409, "this task is over")
        at = _number(rest[1]) * PART
        return content[at : at + PART]

    def _part(self, box: Mailbox, rest: list[str]) -> bytes:
        if len(rest) != 2:
            raise Refused(404, "there is nothing here")
        task, part = rest[0], _number(rest[1])
        size = _number(self.headers.get("Content-Length", ""), 411)
        box.expect(task, part, size)
        content = self._body(box, size)
        box.take(task, part, content, self.headers.get("X-Digest", ""))
        return b"{}"

    def _body(self, box: Mailbox, size: int) -> bytes:
        try:
            content = self.rfile.read(size)
        except OSError:
            content = b""
        if len(content) < size:
            if self._is_cut:
                box.lied(f"is too slow: {size:,} bytes took more than {self.owner.limits.request_s:g} s")
            raise Refused(408, "the body did not come in time")
        return content

    def _whole(self, box: Mailbox, rest: list[str]) -> bytes:
        size = _number(self.headers.get("Content-Length", ""), 411)
        if size > 4096 or len(rest) != 1:
            raise Refused(413, "say {parts, bytes}")
        try:
            said = json.loads(self._body(box, size))
            parts, whole = int(said["parts"]), int(said["bytes"])
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            raise Refused(400, "say {parts, bytes}") from None
        box.finish(rest[0], parts, whole)
        return b"{}"


def _number(text: str, status: int = 400) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Refused(status, "not a number")
    return int(text)
