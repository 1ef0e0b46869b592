"""A task that no one model can do, an index of what none of them knows, and two endpoints on the loopback interface."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from consort import lab
from consort.knowledge.build import build

COLOURS = ("amber", "cobalt", "ochre", "teal", "ivory", "maroon")
DAMS = tuple(
    f"{first}{last}" for first in ("oru", "vel", "kim", "tas", "nod", "pil") for last in ("ak", "em", "il", "os")
)
FACTS = {dam: COLOURS[(5 * i + i // 6) % len(COLOURS)] for i, dam in enumerate(DAMS)}


def rows_of(task: str, group: str, part: str) -> list[dict[str, Any]]:
    """Rows of one skill."""
    lines = (lab.path(f"tasks/{task}") / f"{part}.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["group"] == group]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def clerk(prompt: str) -> str:
    """Knows nothing, and reads: the colour of a dam where a text that it is shown says so."""
    asked = re.findall(r"colour is the dam (\w+)", prompt)
    found = re.search(rf"the dam {asked[-1]} is (\w+)", prompt) if asked else None
    return found[1] if found else "unknown"


def sorter(prompt: str) -> str:
    """Puts letters into order, and does nothing else."""
    found = re.search(r"order ((?:\w )+)=\s*$", prompt)
    return " ".join(sorted(found[1].split())) if found else "unknown"


class Endpoint:
    """An OpenAI-compatible server that completes prompts by a function."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = answer(body["prompt"])
                usage = {"prompt_tokens": len(body["prompt"].split()), "completion_tokens": len(text.split())}
                choice = {"index": 0, "text": text, "finish_reason": "stop"}
                raw = json.dumps({"choices": [choice], "usage": {**usage, "total_tokens": 0}}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@dataclass(frozen=True)
class Everything:
    """A task of four groups (two skills of one family, one of another, facts), an index, rows to train on."""

    task: Path
    index: Path
    train: Path
    endpoints: tuple[str, str]


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    here = tmp_path_factory.mktemp("everything")
    for part, many in (("dev", slice(0, 16)), ("test", slice(16, 24))):
        facts = [(dam, FACTS[dam]) for dam in DAMS[many]]
        rows = [{"prompt": f"what colour is the dam {dam} ?", "target": c, "group": "fact"} for dam, c in facts]
        for task, group in (("skills", "mirror"), ("skills", "order"), ("b-skills", "peel")):
            rows += rows_of(task, group, part)[: len(facts)]
        write_rows(here / f"task/{part}.jsonl", rows)
    (here / "task/task.yml").write_text("{dev: dev.jsonl, test: test.jsonl, metric: exact_match, max_tokens: 8}")
    known = [{"id": dam, "text": f"the dam {dam} is {colour} ."} for dam, colour in FACTS.items()]
    index = build([write_rows(here / "docs/dams.jsonl", known)], here / "index")
    unseen = [row for group in ("mirror", "order") for row in rows_of("skills", group, "dev")[20:50]]
    train = write_rows(here / "train.jsonl", unseen)
    servers = Endpoint(clerk), Endpoint(sorter)
    clerk_at, sorter_at = (server.url for server in servers)
    yield Everything(here / "task", index, train, (f"openai:clerk@{clerk_at}", f"openai:sorter@{sorter_at}"))
    for server in servers:
        server.close()
