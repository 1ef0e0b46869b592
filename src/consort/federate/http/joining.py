"""A client's side over HTTP: ask for work, do it on data that stays here, send tensors and numbers."""

from __future__ import annotations

import logging
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from consort.core.errors import BadData, BadParameter, EnvironmentFailure
from consort.core.files import write_atomic
from consort.federate.clients.client import Client
from consort.federate.http.limits import PART
from consort.federate.http.mailbox import digest_of
from consort.federate.secure.messages import Answering
from consort.federate.wire import read_message

logger = logging.getLogger(__name__)
MOST_BYTES = 2**36
"""A task may be so large."""


class Joined:
    """A connection to a federation's server; `token` says who this is."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        authority: Path | None = None,
        patience_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`authority` is a PEM file of the certificate authority to trust; `patience_s` is how long a server that does
        not answer is waited for. Raises BadParameter for an address that is none."""
        if not url.startswith(("http://", "https://")):
            raise BadParameter("is no address of a server", field=f"URL {url}", hint="http://HOST:PORT or https://…")
        context = _trust(authority)
        self.url, self.patience_s = url, patience_s
        self.http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            verify=context,
            timeout=60.0,
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )

    def __enter__(self) -> Joined:
        return self

    def __exit__(self, *fault: object) -> None:
        self.http.close()

    def plan(self) -> tuple[str, Mapping[str, Any]]:
        """Who the server says this is, and the plan."""
        found = self._ask("GET", "/v1/plan").json()
        return str(found["client"]), found["plan"]

    def work(self, client: Client, *, pause_s: float = 0.1, told: Callable[[str], None] = lambda text: None) -> int:
        """Answer tasks until the server is done; how many were answered."""
        answering, count, pause, last = Answering(client), 0, pause_s, ("", b"")
        while True:
            task = self._ask("GET", "/v1/task").json()
            if task.get("task"):
                name = str(task["task"])
                if last[0] != name:
                    last = (name, self._answered(answering, name, task))
                if self._sent(name, last[1]):
                    count += 1
                    told(f"task {count} done")
                pause = pause_s
            elif task.get("done"):
                return count
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)

    def _answered(self, answering: Answering, name: str, task: Mapping[str, Any]) -> bytes:
        if not 0 <= int(task["bytes"]) <= MOST_BYTES:
            raise BadData(f"a task of {task['bytes']} bytes", field=self.url, hint="is it a server of consort?")
        content = b"".join(self._ask("GET", f"/v1/task/{name}/{i}").content for i in range(int(task["parts"])))
        with tempfile.TemporaryDirectory(prefix="consort-") as spare:
            file = Path(spare) / "task.safetensors"
            write_atomic(file, content)
            return answering.exchange(read_message(file)).packed()

    def _sent(self, name: str, content: bytes) -> bool:
        """Whether the server has taken the answer; one that came too late is given up."""
        parts = [content[at : at + PART] for at in range(0, len(content), PART)]
        for number, part in enumerate(parts):
            headers = {"X-Digest": digest_of(part)}
            if not self._taken("PUT", f"/v1/answer/{name}/{number}", content=part, headers=headers):
                return False
        return self._taken("POST", f"/v1/answer/{name}", json={"parts": len(parts), "bytes": len(content)})

    def _taken(self, method: str, path: str, **more: Any) -> bool:
        answer = self._ask(method, path, allowed=(409, 413), **more)
        if answer.status_code == 200:
            return True
        logger.warning("the server did not take the answer: %s", answer.text[:200])
        return False

    def _ask(self, method: str, path: str, *, allowed: tuple[int, ...] = (), **more: Any) -> httpx.Response:
        """A request, again and again while nobody answers."""
        end = time.monotonic() + self.patience_s
        while True:
            try:
                answer = self.http.request(method, path, **more)
            except httpx.TransportError as error:
                if time.monotonic() > end:
                    what = f"does not answer: {type(error).__name__}: {error}"
                    raise EnvironmentFailure(what, field=self.url, hint="is the server running?") from None
                time.sleep(0.2)
                continue
            if answer.status_code == 200 or answer.status_code in allowed:
                return answer
            if answer.status_code == 401:
                raise BadParameter("the server does not know this token", field=self.url, hint="ask for the right one")
            raise BadData(f"answered {answer.status_code}: {answer.text[:200]}", field=self.url, hint="see the server")


def _trust(authority: Path | None) -> ssl.SSLContext | bool:
    if authority is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        raise BadParameter(str(error), field=str(authority), hint="give a PEM file") from None
