"""Threats that one wrong input does not show: a key through every verb, who listens, many models of one bad member."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from consort.models.fake import FakeModel
from consort.server.run import Server
from tests.attack.test_bad_inputs import model, ran

pytestmark = pytest.mark.slow
KEY = "sk-CANARY123"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An endpoint that wants the key, and says it again."""
    monkeypatch.setenv("CONSORT_API_KEY", KEY)
    models = {"echo": FakeModel(lambda text: f"{text} {KEY}", name="echo"), "weak": FakeModel(lambda text: "?")}
    with Server(models=models, port=0, api_key_env="CONSORT_API_KEY") as running:
        yield running


def test_a_key_is_in_no_file_and_no_output(endpoint: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"prompt": f"say {i}", "target": "?", "split": ("dev", "test")[i % 2]} for i in range(40)]
    (tmp_path / "task.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task, url = str(tmp_path / "task.jsonl"), f"{endpoint.url}/v1"
    models = [f"openai:echo@{url}", f"openai:weak@{url}"]
    verbs = {
        "generate": ["generate", models[0], "hi", "--json"],
        "eval": ["eval", *models, "--task", task, "--json"],
        "auto": ["auto", *models, "--task", task, "--out", str(tmp_path / "run"), "--budget", "3"],
        "report": ["report", str(tmp_path / "run")],
        "status": ["status", str(tmp_path / "run"), "--json"],
        "doctor": ["doctor", "--json"],
        "debug": ["generate", f"openai:nobody@{url}", "hi", "--debug"],
    }
    for name, words in verbs.items():
        found = ran(words)
        assert found.returncode == (2 if name == "debug" else 0), found.stderr
        said = found.stderr if name in ("generate", "eval") else found.stdout + found.stderr
        assert "CANARY" not in said, name
    monkeypatch.setenv("CONSORT_API_KEY", f"{KEY}-wrong")
    refused = ran(["generate", models[0], "hi", "--debug"])
    assert refused.returncode in (2, 3) and "CANARY" not in refused.stdout + refused.stderr, refused.stderr
    log = sorted(file for file in tmp_path.rglob("*") if file.is_file() and file.name != "task.jsonl")
    assert len(log) > 3
    told = re.compile(rb"(?<!\? )sk-CANARY")
    assert [file.name for file in log if told.search(without_answers(file.read_bytes()))] == []
    metrics = httpx.get(f"{endpoint.url}/metrics", headers={"authorization": f"Bearer {KEY}"})
    assert metrics.status_code == 200 and "CANARY" not in metrics.text


def without_answers(data: bytes) -> bytes:
    """A file without what the endpoint answered: that is kept as it was said."""
    return re.sub(rb"say \d+ sk-CANARY123", b"", data)


def listening(process: int) -> list[str]:
    """Addresses at which a process listens, as the kernel tells them: hexadecimal, and the port."""
    own = {os.readlink(handle) for handle in Path(f"/proc/{process}/fd").iterdir() if os.path.lexists(handle)}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                found.append(fields[1])
    return found


def test_a_server_listens_on_loopback_only() -> None:
    command = [sys.executable, "-m", "consort", "serve", "lab:mirror", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if line.startswith("serving"))
            places = listening(process.pid)
            assert places and all(place.startswith("0100007F:") for place in places), places
            url = line.split()[-1]
            assert httpx.get(f"{url}/health", timeout=30).status_code == 200
        finally:
            process.terminate()


def test_a_member_whose_logits_are_no_numbers_is_named_and_no_nan_is_written(tmp_path: Path) -> None:
    """Weights that overflow in the first pass; a member that breaks later is left out (`test_broken_members`)."""
    import torch

    def change(found: dict[str, torch.Tensor]) -> None:
        for name in found:
            found[name] = found[name].float() * (1e38 if "norm" in name else 1)

    bad = model(tmp_path, "bad", change)
    (tmp_path / "plan.yml").write_text(f"average: {{models: [lab:mirror, lab:order, {bad}]}}")
    found = ran(["generate", str(tmp_path / "plan.yml"), "mirror: a b =", "--json"])
    told = json.loads(found.stderr, parse_constant=lambda name: pytest.fail(name))["error"]
    assert found.returncode == 2 and told["field"] == str(bad) and "NaN" in told["message"]


def test_a_header_bomb_takes_neither_time_nor_memory(tmp_path: Path) -> None:
    """Told before torch is imported; the file is read to its header's limit only."""
    bad = model(tmp_path, "bad")
    file = bad / "model.safetensors"
    file.write_bytes((99_000_000).to_bytes(8, "little") + b'{"a":"' + b"x" * 99_000_000)
    program = (
        "import sys; from consort.cli import main\n"
        "try: main()\n"
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], 'torch' in sys.modules)"
    )
    (tmp_path / "plan.yml").write_text(f"linear: {{models: [{bad}, lab:order]}}")
    command = [sys.executable, "-c", program, "merge", str(tmp_path / "plan.yml"), str(tmp_path / "out")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    found = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert found.returncode == 2 and resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2
    kilobytes, torch_is_there = found.stdout.split()
    assert torch_is_there == "False" and int(kilobytes) < 300_000
