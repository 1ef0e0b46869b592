"""`consort fuse` killed by the system (SIGKILL) at three moments: run again it ends with the bytes of a whole run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from consort import lab

MOMENTS = ("rows/*/rows-*.safetensors", "students/*.state.safetensors", "students/*/curve.json")
"""Files that tell how far a run is: rows are recorded, a student is half trained, a student is finished."""
LIMIT_S = 240


@pytest.fixture
def plan(tmp_path):
    lines = (lab.path("tasks/facts") / "train.jsonl").read_text().splitlines()
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines[::40]))
    (tmp_path / "plan.yml").write_text(
        "pivot: lab:pivot\n"
        "sources: [lab:teacher-north, lab:teacher-south]\n"
        f"corpus: {tmp_path / 'corpus.jsonl'}\n"
        "collect: {block: 64, shard: 2}\n"
        "train: {steps: 12, batch: 8, part: 8, lr: 1.0e-3, save_every: 1}\n"
    )
    return tmp_path / "plan.yml"


def start(plan, out):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "consort", "fuse", str(plan), str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True)


def finish(plan, out):
    _, err = (process := start(plan, out)).communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err


def kill_when(plan, out, pattern):
    """Kill the run once more files fit the pattern than when it began."""
    before, until = len(list(out.glob(pattern))), time.monotonic() + LIMIT_S
    process = start(plan, out)
    while len(list(out.glob(pattern))) <= before:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.slow
def test_killed_at_three_moments_it_ends_with_the_same_bytes(plan, tmp_path):
    finish(plan, tmp_path / "whole")
    out = tmp_path / "killed"
    for pattern in MOMENTS:
        kill_when(plan, out, pattern)
        assert not (out / "model").exists()
    torn = out / "rows" / ".rows.torn"
    torn.write_bytes(b"half")
    (out / ".results.json.torn").write_bytes(b"half")
    finish(plan, out)
    whole, resumed = files(tmp_path / "whole"), files(out)
    assert not torn.exists()
    assert set(resumed) == set(whole)  # no temporary file, no state, no partial folder
    different = [name for name in whole if whole[name] != resumed[name]]
    assert not different, different
    assert json.loads(resumed["results.json"])["winner"]["path"] == "model"
