"""Uploads to a small hub of our own, which answers as huggingface_hub asks."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from consort import lab
from consort.core.errors import BadCheckpoint, BadParameter
from consort.core.results import write_results
from consort.runs.push import check_repository, model_index, push_to_hub, told_card

PUSH = """
import sys
from consort.cli.border import run
sys.exit(run(sys.argv[1:]))
"""


class Hub(ThreadingHTTPServer):
    """Keeps what is uploaded, by repository and path; refuses tokens but one."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, document: Any, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer({"id": "org/name", "sha": "0" * 40, "siblings": [], "name": "me", "orgs": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != "Bearer hf_right":
            self._answer({"error": "Invalid credentials"}, 401)
        elif self.path.endswith("/repos/create"):
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.private[name] = asked.get("private") or asked.get("visibility") == "private"
            self.server.files.setdefault(name, {})
            self._answer({"url": f"{self.server.address}/{name}"})
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            name = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.server.files[name][value["path"]] = base64.b64decode(value["content"])
            self._answer(
                {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.server.address}/{name}/commit/1"}
            )
        else:
            self._answer({})


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def push(hub: Hub, *arguments: object, token: str = "hf_right") -> subprocess.CompletedProcess[str]:
    """The program in a process of its own: huggingface_hub reads its settings when it is imported."""
    import os

    told = {"HF_ENDPOINT": hub.address, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0"}
    told |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", PUSH, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, timeout=120, check=False)


def test_a_merge_is_uploaded_with_its_card(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text("linear: {models: ['lab:mirror', 'lab:order']}")
    ran = push(hub, "merge", tmp_path / "p.yml", tmp_path / "out", "--push", "org/both")
    assert ran.returncode == 0, ran.stderr
    files = hub.files["org/both"]
    assert files["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()
    assert {"config.json", "tokenizer.json", "README.md", "merge_manifest.json"} <= set(files)
    front = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert front["base_model"] == ["mirror", "order"] and "merge" in front["tags"]
    assert hub.private["org/both"]
    assert "org/both" in ran.stderr


def test_what_the_hub_refuses_is_told_without_the_token(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text("linear: {models: ['lab:mirror', 'lab:order']}")
    ran = push(hub, "merge", tmp_path / "p.yml", tmp_path / "out", "--push", "org/both", token="hf_wrong_one")
    assert ran.returncode == 3 and "error: org/both: cannot be uploaded" in ran.stderr
    assert "hf_wrong_one" not in ran.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()  # what was made stays


def run_folder(folder: Path) -> Path:
    shutil.copytree(lab.path("mirror"), folder / "model")
    (folder / "report.html").write_text("<html></html>")
    (folder / "plan.yml").write_text("plan: lab:mirror\n")
    tested = [{"model": "order", "score": 0.25}, {"model": "winner", "score": 0.75}]
    task = {"name": "skills", "metric": "exact_match"}
    write_results(folder, "auto", {"task": task, "winner": {"name": "winner"}, "test": tested})
    return folder


def test_a_runs_scores_are_the_cards_model_index(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    [entry] = model_index(run, "org/best")
    assert entry["name"] == "best"
    [result] = entry["results"]
    assert result["metrics"] == [{"type": "exact_match", "value": 0.75, "name": "test score"}]
    assert result["dataset"] == {"type": "skills", "name": "skills", "split": "test"}
    card = told_card(run / "model", run, "org/best")
    assert yaml.safe_load(card.split("---")[1])["model-index"] == [entry]
    assert "| skills | exact_match | 0.750 |" in card
    from huggingface_hub import ModelCard

    assert ModelCard(card).data.eval_results[0].metric_value == 0.75


def test_wrong_names_and_folders_are_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    for name in ("", "name", "org/na me", "a/b/c", "../x", "org/a..b"):
        with pytest.raises(BadParameter, match="is no repository"):
            check_repository(name)
    with pytest.raises(BadCheckpoint, match="holds no model to upload"):
        push_to_hub(tmp_path, "org/name")
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    with pytest.raises(BadParameter, match="HF_HUB_OFFLINE"):
        check_repository("org/name")
