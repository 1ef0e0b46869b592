"""What works without what Unix alone has (merging, endpoints, tables), and how the rest is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from consort.models.fake import FakeModel
from consort.server.run import Server

HERE = Path(__file__).parent
PROGRAM = """
import contextlib, io, json, sys
from consort.cli import main
found = {}
for name, words in json.loads(sys.argv[1]).items():
    sys.argv = ["consort", *words]
    told, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            code = end.code
    found[name] = [code or 0, told.getvalue(), said.getvalue()]
print(json.dumps(found))
"""


def in_windows(program: str, folder: Path, *words: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(HERE / "like_windows.py"), program, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(folder: Path, url: str) -> Mapping[str, Sequence[str]]:
    lines = [{"prompt": f"say {i}", "target": f"say {i}", "split": "test"} for i in range(6)]
    (folder / "task.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = [{"prompt": f"say {i}", "split": ("dev", "test")[i % 2], "a": i % 3 == 0, "b": 1} for i in range(60)]
    (folder / "table.jsonl").write_text("\n".join(json.dumps({**row, "a": int(row["a"])}) for row in rows))
    (folder / "merge.yml").write_text("linear: {models: [lab:mirror, lab:order]}")
    (folder / "people.csv").write_text("name,age\nAnn,31\nBob,25\n")
    (folder / "program.jsonl").write_text(json.dumps({"prompt": "a", "target": "assert True", "split": "test"}))
    (folder / "program.yml").write_text("test: program.jsonl\nmetric: code\n")
    (folder / "page.pdf").write_bytes(b"%PDF-1.4")
    (folder / "empty").mkdir()
    (folder / "remote.yml").write_text(f"plan: openai:echo@{url}")
    return {
        "merge": ["merge", "merge.yml", "out"],
        "merge again": ["merge", "merge.yml", "out"],
        "replace": ["merge", "merge.yml", "out", "--force", "--threads", "2"],
        "into an empty folder": ["merge", "merge.yml", "empty"],
        "a model at work": ["generate", "lab:mirror", "mirror: a b ="],
        "endpoint": ["generate", f"openai:echo@{url}", "say it"],
        "endpoints compared": ["eval", f"openai:echo@{url}", "--task", "task.jsonl", "--json"],
        "table": ["eval", "table:table.jsonl#a", "table:table.jsonl#b", "--task", "table:table.jsonl", "--json"],
        "auto over a table": ["auto", "table:table.jsonl#a", "table:table.jsonl#b", "--task", "table:table.jsonl",
                              "--out", "run", "--budget", "2"],
        "status": ["status", "run"],
        "sql": ["index", "people.csv", "people.sqlite", "--kind", "sql"],
        "doctor": ["doctor", "--json"],
        "generated programs": ["eval", f"openai:echo@{url}", "--task", "program.yml", "--allow-task-code"],
        "pdf": ["index", "page.pdf", "index"],
        "workers": ["serve", "remote.yml", "--workers", "2", "--port", "0"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("windows")
    with Server(models={"echo": FakeModel(lambda text: text, name="echo")}, port=0) as running:
        words = commands(folder, f"{running.url}/v1")
        answers = json.loads(in_windows(PROGRAM, folder, json.dumps(words)))
    return folder, answers


WORKS = ("a model at work", "merge", "replace", "into an empty folder", "endpoint", "endpoints compared", "table",
         "auto over a table", "status", "sql", "doctor")  # fmt: skip


@pytest.mark.parametrize("name", WORKS)
def test_it_works(name: str, found: Any) -> None:
    code, _, said = found[1][name]
    assert code == 0, said


REFUSED = {
    "merge again": "is not empty",
    "generated programs": "Linux 5.13",
    "pdf": "Linux or macOS",
    "workers": "can fork",
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name: str, found: Any) -> None:
    code, told, said = found[1][name]
    assert code == 2 and not told and REFUSED[name] in said, said
    lines = [line.split(":")[0] for line in said.splitlines() if line.startswith(("error:", "hint:"))]
    assert lines == ["error", "hint"], said


SERVED = """
import httpx
from consort.models.fake import FakeModel
from consort.server.run import Server
with Server(models={"echo": FakeModel(lambda text: text, name="echo")}, port=0) as running:
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    print(httpx.post(f"{running.url}/v1/chat/completions", json=body).status_code)
"""


def test_one_process_serves(tmp_path: Path) -> None:
    assert in_windows(SERVED, tmp_path).split() == ["200"]


def test_a_merge_is_what_it_is_elsewhere(found: Any, tmp_path: Path) -> None:
    from consort.cli.border import run as consort

    folder, answers = found
    (tmp_path / "merge.yml").write_text("linear: {models: [lab:mirror, lab:order]}")
    assert consort(["merge", str(tmp_path / "merge.yml"), str(tmp_path / "out")]) == 0
    wanted = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert (folder / "out" / "model.safetensors").read_bytes() == wanted
    assert (folder / "empty" / "model.safetensors").read_bytes() == wanted
    assert not json.loads(answers["doctor"][1])["locks"]


KILLED = """
import os
from consort.weights.disk import stream
from consort.weights.disk.whole_folder import Partial
real, left = Partial.record, [1]
def record(self, counts):
    real(self, counts)
    left[0] -= 1
    if not left[0]:
        os._exit(0)
Partial.record = record
from consort.cli import main
import sys
sys.argv = ["consort", "merge", "merge.yml", "out"]
main()
"""


def test_a_killed_merge_goes_on(found: Any, tmp_path: Path) -> None:
    (tmp_path / "merge.yml").write_text("linear: {models: [lab:mirror, lab:order]}")
    in_windows(KILLED, tmp_path)
    assert [path.name[:12] for path in tmp_path.glob("out*")] == ["out.partial-"]
    again = json.loads(in_windows(PROGRAM, tmp_path, json.dumps({"merge": ["merge", "merge.yml", "out"]})))
    assert again["merge"][0] == 0, again
    wanted = (found[0] / "out" / "model.safetensors").read_bytes()
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == wanted
